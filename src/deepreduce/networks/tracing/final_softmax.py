"""The softmax at a network's end: left out, so that the network answers with logits.

Training computes cross entropy from logits, and the client takes the softmax of the answer itself: with another one
before it, gradients would vanish and probabilities would be wrong. It changes no decision, for it keeps the order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx, nn

from .ops import module_of, op_name

SOFTMAX_MODULES = (nn.Softmax, nn.LogSoftmax)
SOFTMAX_FUNCTIONS = {
    F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax",
}  # fmt: skip
LEFT_OUT = "left_out"  # in the meta of the output's node: the operation that stood before it, as ``softmax``


def drop_final_softmax(body: fx.GraphModule) -> None:
    """Let a traced graph (with shapes) answer with what its final softmax or log-softmax over the classes reads.

    The operation's name is noted in the output's meta. A graph that ends otherwise stays as it is.
    """
    output = next(node for node in body.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node) or not _over_classes(last):
        return
    output.meta[LEFT_OUT] = op_name(last)
    last.replace_all_uses_with(last.all_input_nodes[0])
    body.graph.erase_node(last)
    body.recompile()
    body.delete_all_unused_submodules()


def left_out(body: fx.GraphModule) -> str | None:
    """Return the name of the operation that `drop_final_softmax` left out of ``body``, None if there was none."""
    output = next(node for node in body.graph.nodes if node.op == "output")
    name: str | None = output.meta.get(LEFT_OUT)
    return name


def _over_classes(node: fx.Node) -> bool:
    """Return whether ``node`` is a softmax over the second of two axes, read by the output alone."""
    shape = node.meta.get("shape")
    if len(node.users) != 1 or shape is None or len(shape) != 2:
        return False
    module = module_of(node)
    if module is not None:
        return isinstance(module, SOFTMAX_MODULES) and module.dim in (1, -1, None)
    if node.op not in {"call_function", "call_method"} or node.target not in SOFTMAX_FUNCTIONS:
        return False
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return axis in (1, -1, None)
