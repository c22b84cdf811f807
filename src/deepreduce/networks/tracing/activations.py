"""Activations that a ReLU can replace: smooth or leaky functions of one element, which nothing here reduces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from .ops import module_of, relu_kind

REMEDY = "replace them by ReLU and fine-tune: only ReLU and ReLU6 are counted, removed and computed in private"

_NAMES: dict[Any, str] = {
    spelling: name
    for name, spellings in {
        "GELU": (nn.GELU, F.gelu),
        "SiLU": (nn.SiLU, F.silu),
        "Mish": (nn.Mish, F.mish),
        "LeakyReLU": (nn.LeakyReLU, F.leaky_relu, F.leaky_relu_),
        "PReLU": (nn.PReLU, F.prelu, torch.prelu),
        "RReLU": (nn.RReLU, F.rrelu, F.rrelu_),
        "ELU": (nn.ELU, F.elu, F.elu_),
        "CELU": (nn.CELU, F.celu, torch.celu),
        "SELU": (nn.SELU, F.selu, torch.selu),
        "Hardswish": (nn.Hardswish, F.hardswish),
        "Hardtanh": (nn.Hardtanh, F.hardtanh, F.hardtanh_),
        "Softplus": (nn.Softplus, F.softplus),
        "Softsign": (nn.Softsign, F.softsign),
        "Tanh": (nn.Tanh, F.tanh, torch.tanh, "tanh", "tanh_"),
        "Threshold": (nn.Threshold, F.threshold, torch.threshold),
    }.items()
    for spelling in spellings
}


def activation_name(node: fx.Node) -> str | None:
    """Return the name of the activation other than ReLU that ``node`` computes, None if it computes none."""
    if relu_kind(node) or not node.meta["data"]:
        return None
    module = module_of(node)
    if module is not None:
        return next((_NAMES[kind] for kind in type(module).__mro__ if kind in _NAMES), None)
    return _NAMES.get(node.target) if node.op in {"call_function", "call_method"} else None


def activations_text(nodes: Iterable[fx.Node]) -> str:
    """Return which activations other than ReLU the nodes are, "" for none: ``2 GELU (act1, act2), 1 SiLU (gate)``."""
    places: dict[str, list[str]] = {}
    for node in nodes:
        if name := activation_name(node):
            places.setdefault(name, []).append(node.meta["path"])
    return ", ".join(f"{len(found)} {name} ({_few(found)})" for name, found in places.items())


def _few(places: list[str], most: int = 3) -> str:
    return ", ".join(places[:most]) + (f" and {len(places) - most} more" if len(places) > most else "")
