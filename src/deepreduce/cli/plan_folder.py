"""A folder with a plan and its weights, as export writes it, and what they compute in the clear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PlanError

if TYPE_CHECKING:
    from ..inference import Classification
    from ..plan import Plan


def read_plan_folder(path: Path) -> tuple[Plan, dict[str, Any], Path]:
    """Return plan, weights and folder of ``path``, the folder or its plan.json. Raises `PlanError`."""
    from ..plan import read_plan, read_weights

    folder = path.parent if path.name == "plan.json" else path
    if not folder.is_dir():
        raise PlanError(f"{path} is not a plan folder", "make one with deepreduce export")
    plan = read_plan(folder / "plan.json")
    return plan, read_weights(folder / "weights.safetensors", plan), folder


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
