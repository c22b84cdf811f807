"""What a plan and its weights compute in the clear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..inference import Classification
    from ..plan import Plan


def clear_answers(plan: Plan, weights: Mapping[str, Any], inputs: Iterable[Any]) -> Iterator[Classification]:
    """Yield the answer of the plan's integers for each input [C, h, w]: what both parties compute, bit for bit."""
    import numpy as np

    from ..inference import Classification
    from ..inference.client import class_names
    from ..plan import answers, decode_output, encode_input

    names = class_names(plan)
    for one in inputs:
        logits = decode_output(plan, answers(plan, weights, encode_input(plan, np.asarray(one)[None])))
        yield Classification(logits.reshape(-1), names)
