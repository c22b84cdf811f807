"""Constants of a traced graph: numbers, and tensors that do not depend on the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from .ir import Array


def constant(value: Any) -> Any:
    """Return an argument of a node as a number or tensor; a node that does not depend on the image is computed."""
    if not isinstance(value, fx.Node):
        return value
    owner = value.graph.owning_module
    assert owner is not None
    if value.op == "get_attr":
        found: Any = owner
        for part in str(value.target).split("."):
            found = getattr(found, part)
        return found
    args, kwargs = fx.map_arg((value.args, value.kwargs), constant)
    if value.op == "call_method":
        return getattr(args[0], str(value.target))(*args[1:], **kwargs)
    function = owner.get_submodule(str(value.target)) if value.op == "call_module" else value.target
    return function(*args, **kwargs)  # type: ignore[operator]  # a call, whatever is called


def per_channel(value: Any, shape: tuple[int, ...]) -> Array | None:
    """``value`` as one number for each of the channels (features) of ``shape``; None if it is not that."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return np.full(shape[0], float(value))
    if not isinstance(value, torch.Tensor):
        return None
    array = value.detach().to("cpu", torch.float64).numpy()
    array = array.reshape((1,) * max(0, 1 + len(shape) - array.ndim) + array.shape)
    if array.shape[0] != 1 or array.shape[1] not in (1, shape[0]) or any(side != 1 for side in array.shape[2:]):
        return None
    return np.broadcast_to(array.reshape(-1), (shape[0],)).copy()
