"""Operations of a traced graph: the ReLU's many spellings, linear operations, merges and views.

Everything is decided by closed tables. What no table names is either reported as not counted (another non-linearity
of torch) or refused (code that could hide ReLUs), so that a count is never silently wrong.
"""

from __future__ import annotations

import operator
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..masked_relu import MaskedReLU

SUMS = {operator.add, operator.sub, torch.add, torch.sub, "add", "sub"}
JOINS = {torch.cat, torch.concat, torch.concatenate, torch.stack}
PRODUCTS = {operator.mul, operator.truediv, torch.mul, torch.div, "mul", "div"}

VIEW_FUNCTIONS = {
    operator.getitem, torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze,
    torch.chunk, torch.split, torch.narrow, torch.unbind,
}  # fmt: skip
VIEW_METHODS = {
    "view", "reshape", "flatten", "transpose", "permute", "squeeze", "unsqueeze", "chunk", "split", "narrow",
    "expand", "detach", "contiguous", "unbind", "t", "view_as",
}  # fmt: skip
VIEW_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten)

SHAPE_METHODS = {"size", "dim", "numel", "shape", "new_zeros"}

LINEAR_MODULES = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Identity, nn.Flatten, nn.Unflatten,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Upsample, nn.UpsamplingNearest2d,
    nn.UpsamplingBilinear2d,
)  # fmt: skip
# Leaf modules of torch that compute ReLUs, or other non-linearities, out of sight of the tracer.
OPAQUE_MODULES = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Transformer)

LINEAR_FUNCTIONS = {
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d, F.linear, F.batch_norm, F.dropout, F.dropout2d, F.pad,
    F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
    F.interpolate, F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle,
    torch.mean, torch.sum, operator.neg, torch.neg, torch.conv2d,
}  # fmt: skip
LINEAR_METHODS = {"mean", "sum", "neg", "to", "float", "clone", "roll", "repeat"}
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
MAX_POOL_FUNCTIONS = {F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool2d, torch.max_pool2d}

# What rewrites write into a node's meta for those who look for places in a network:
MARGIN = "margin"  # rows and columns (top, bottom, left, right) of its value beyond the nominal extent
REMOVED = "removed_relus"  # the paths of ReLUs that read it and are gone

_CALLS = {"call_function", "call_method"}

IN_PLACE_OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def module_of(node: fx.Node) -> nn.Module | None:
    """Return the submodule that a ``call_module`` node calls, else None."""
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    assert owner is not None
    return owner.get_submodule(str(node.target))


def mark_data(graph: fx.Graph) -> None:
    """Write into each node's ``meta["data"]`` whether its values depend on the image, not on weights alone."""
    for node in graph.nodes:
        known = node.op == "placeholder" or any(n.meta["data"] for n in node.all_input_nodes)
        node.meta["data"] = known and not is_shape_query(node)


def parents(node: fx.Node) -> list[fx.Node]:
    """Return the distinct nodes that ``node`` reads and that depend on the image."""
    return [n for n in node.all_input_nodes if n.meta["data"]]


def readers(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that read the values of ``node``, not only its shape."""
    return [n for n in node.users if not is_shape_query(n)]


def is_shape_query(node: fx.Node) -> bool:
    """Return whether ``node`` yields sizes rather than values (``x.size(0)``, ``x.shape[1]`` and arithmetic on
    them).
    """
    if node.op == "call_method":
        return node.target in SHAPE_METHODS
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in {"shape", "dtype", "device", "ndim"}
    inputs = node.all_input_nodes
    return bool(inputs) and all(is_shape_query(n) for n in inputs)


def _bounds(node: fx.Node, low_name: str, high_name: str) -> tuple[Any, Any]:
    low = node.args[1] if len(node.args) > 1 else node.kwargs.get(low_name)
    high = node.args[2] if len(node.args) > 2 else node.kwargs.get(high_name)
    return low, high


def relu_kind(node: fx.Node) -> str | None:
    """``"relu"`` or ``"relu6"`` if ``node`` computes max(x, 0) or min(max(x, 0), 6) in any spelling, else None.

    A ReLU of weights alone costs nothing under encryption and is none.
    """
    if not node.meta["data"]:
        return None
    module = module_of(node)
    if module is not None:
        if isinstance(module, nn.ReLU | MaskedReLU):
            return "relu"
        if isinstance(module, nn.Hardtanh):  # ReLU6 is a Hardtanh(0, 6)
            return "relu6" if (module.min_val, module.max_val) == (0, 6) else None
        if isinstance(module, nn.Threshold):
            return "relu" if (module.threshold, module.value) == (0, 0) else None
        return None
    target = node.target
    if target in {F.relu, F.relu_, torch.relu, torch.relu_} or (
        node.op == "call_method" and target in {"relu", "relu_"}
    ):
        return "relu"
    if target is F.relu6:
        return "relu6"
    bounds: tuple[Any, Any] = (None, None)
    if target in {torch.clamp, torch.clamp_, torch.clip, torch.clip_, "clamp", "clamp_", "clip", "clip_"}:
        bounds = _bounds(node, "min", "max")
    elif target in {F.threshold, torch.threshold}:
        return "relu" if _bounds(node, "threshold", "value") == (0, 0) else None
    elif target in {torch.clamp_min, torch.clamp_min_, "clamp_min", "clamp_min_"}:
        bounds = _bounds(node, "min", "")[0], None
    elif target in {F.hardtanh, F.hardtanh_}:
        bounds = _bounds(node, "min_val", "max_val")
    return {(0, None): "relu", (0, 6): "relu6"}.get(bounds) if not isinstance(bounds[0], fx.Node) else None


def is_merge(node: fx.Node) -> bool:
    """Return whether ``node`` joins two or more branches by addition or concatenation; a gate (product) is none."""
    return len(parents(node)) > 1 and node.op in _CALLS and (node.target in SUMS or node.target in JOINS)


def is_view(node: fx.Node) -> bool:
    """Return whether the output of ``node`` may share memory with its input."""
    if node.op == "call_function":
        return node.target in VIEW_FUNCTIONS
    if node.op == "call_method":
        return node.target in VIEW_METHODS
    return isinstance(module_of(node), VIEW_MODULES)


def is_max_pool(node: fx.Node) -> bool:
    """Return whether ``node`` is a max-pool, which costs comparisons under encryption though it is not a ReLU."""
    return isinstance(module_of(node), MAX_POOLS) or node.target in MAX_POOL_FUNCTIONS


def is_linear(node: fx.Node) -> bool:
    """Return whether ``node`` is a known linear or shape operation (max-pools excluded)."""
    if node.op in {"placeholder", "output", "get_attr"} or not node.meta["data"] or is_view(node):
        return True
    if node.op == "call_module":
        return isinstance(module_of(node), LINEAR_MODULES)
    if node.op == "call_function":
        return node.target in LINEAR_FUNCTIONS | SUMS | JOINS | PRODUCTS or node.target is getattr
    return node.target in LINEAR_METHODS or node.target in SUMS | PRODUCTS


def is_product(node: fx.Node) -> bool:
    """Return whether ``node`` multiplies (or divides) two tensors that depend on the image, which is not linear."""
    return node.op in _CALLS and node.target in PRODUCTS and len(parents(node)) > 1


def is_foreign(node: fx.Node) -> bool:
    """Return whether ``node`` calls code that is neither torch's nor Python's, and so could hide anything."""
    if node.op == "call_module":
        return isinstance(module_of(node), OPAQUE_MODULES)
    if node.op != "call_function":
        return False
    home = getattr(node.target, "__module__", None) or ""
    return home.split(".")[0] not in {"", "torch", "_operator", "operator", "builtins", "math"}


def op_name(node: fx.Node) -> str:
    """Return the operation in snake case, the same for a module and its functional form (``conv2d``, ``relu``)."""
    module = module_of(node)
    if module is not None:
        name = type(module).__name__
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("re_lu", "relu")
        # SiLU and LogSigmoid are functions without an underscore.
        return relu_kind(node) or (name.lower() if hasattr(F, name.lower()) and not hasattr(F, snake) else snake)
    return str(getattr(node.target, "__name__", node.target)).strip("_")
