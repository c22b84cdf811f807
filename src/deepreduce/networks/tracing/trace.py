"""Tracing of any ``nn.Module`` to a graph in which every ReLU is one node, or a refusal that says why not."""

from __future__ import annotations

import copy
import inspect
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from ...errors import ModelError, one_line
from .equivalence import check_equivalence
from .functionalize import functionalize
from .ops import is_foreign, mark_data, module_of
from .shapes import propagate_shapes

DROPOUTS: dict[Any, Any] = {
    nn.functional.dropout: nn.Dropout,
    nn.functional.dropout1d: nn.Dropout1d,
    nn.functional.dropout2d: nn.Dropout2d,
    nn.functional.dropout3d: nn.Dropout3d,
    nn.functional.alpha_dropout: nn.AlphaDropout,
}


class _Tracer(fx.Tracer):
    """Goes into everything but torch's own childless modules: a container may hide ReLUs, such a leaf cannot.

    A leaf with hooks or a patched forward is gone into as well.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        altered = "forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks
        return type(m).__module__.startswith("torch.nn") and not altered and not any(True for _ in m.children())


def trace(module: nn.Module, input_shape: tuple[int, int, int], verify: bool = True) -> fx.GraphModule:
    """Trace a copy of ``module`` for images of ``input_shape`` (c, h, w); the graph's nodes carry their shapes.

    In-place operations are made out-of-place and dead code is dropped. The graph's outputs and gradients are then
    compared with the module's own: a graph that computes anything else is refused (`ModelError`), as is a module that
    cannot be traced, that computes through code the tracer cannot see, that does something else in training than in
    evaluation (dropout and batch normalization apart), or that does not answer with logits [n, classes].
    ``verify=False`` leaves out the comparison, for networks that our tests compare.
    """
    try:
        original = copy.deepcopy(module).to("cpu", torch.float32).eval()
    except Exception as error:
        raise ModelError(f"the network cannot be copied: {one_line(error)}", "remove what wraps its weights") from error
    body = _graph_of(copy.deepcopy(original))
    propagate_shapes(body, input_shape)
    if verify:
        check_equivalence(original, body, input_shape)
    return body


def _graph_of(module: nn.Module) -> fx.GraphModule:
    defaults = _default_arguments(module)
    try:
        trained = copy.deepcopy(module).train()
        in_training = _Tracer().trace(trained, concrete_args=defaults)
        body = fx.GraphModule(module, _Tracer().trace(module, concrete_args=defaults))
        dropouts = _compare_modes(body.graph, in_training)
        _compare_constants(module, trained)
        _drop_extra_inputs(body.graph)
        mark_data(body.graph)
        functionalize(body.graph)
        for node in dropouts:
            _restore_dropout(body, node)
        body.graph.eliminate_dead_code()
        body.graph.lint()
        body.recompile()
        body.delete_all_unused_submodules()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the network cannot be traced: {type(error).__name__}: {one_line(error)}{_user_line(error)}",
            "torch.fx must see its forward as one fixed graph: no branches or loops that depend on tensor values",
        ) from error
    for node in body.graph.nodes:
        if is_foreign(node):
            what = type(module_of(node)).__name__ if node.op == "call_module" else node.target.__name__
            raise ModelError(
                f"the network calls {what} at {node.name!r}, which the tracer cannot look into",
                "it could hide ReLUs; write it with torch operations or as an nn.Module of them",
            )
    return body


def _user_line(error: Exception) -> str:
    """`` (net.py:12)``: the last line of the traceback that is neither torch's nor ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
    theirs = [f for f in frames if not f.filename.startswith((str(Path(__file__).parents[1]), "<"))]
    return f" ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else ""


def _default_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the values of forward's further parameters. Raises `ModelError` if it needs more than the images."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if len(required) > 1:
        raise ModelError(f"the network's forward needs {', '.join(required)}", "it must take one tensor of images")
    return {p.name: p.default for p in parameters[1:] if p.default is not p.empty}


def _drop_extra_inputs(graph: fx.Graph) -> None:
    """Remove the inputs whose values were fixed, and the checks of those values that torch.fx adds."""
    images, *others = [node for node in graph.nodes if node.op == "placeholder"]
    for node in reversed(list(graph.nodes)):
        if node.target is torch._assert or (node not in (images, *others) and not node.users and _reads(node, others)):
            graph.erase_node(node)
    for node in others:
        graph.erase_node(node)


def _reads(node: fx.Node, sources: list[fx.Node]) -> bool:
    return node.op != "output" and any(source in sources for source in node.all_input_nodes)


def _compare_modes(evaluating: fx.Graph, training: fx.Graph) -> list[fx.Node]:
    """Refuse a forward that differs between modes, but for functional dropout: those nodes are returned."""
    pairs = list(zip(evaluating.nodes, training.nodes, strict=False))
    dropouts = []
    for ours, theirs in pairs:
        same_call = (ours.op, ours.target) == (theirs.op, theirs.target)
        if same_call and (str(ours.args), str(ours.kwargs)) == (str(theirs.args), str(theirs.kwargs)):
            continue
        if not (same_call and ours.target in DROPOUTS):
            raise ModelError(
                f"the network computes something else in training than in evaluation (at {ours.name!r})",
                "use nn.Dropout and nn.BatchNorm2d modules, and no other use of self.training",
            )
        dropouts.append(ours)
    if len(evaluating.nodes) != len(training.nodes):
        raise ModelError("the network computes more in training than in evaluation", "make forward the same in both")
    return dropouts


def _compare_constants(evaluated: nn.Module, trained: nn.Module) -> None:
    """Refuse tensors made in forward (``_tensor_constant0`` ... to the tracer) that differ between the modes."""
    for name, value in vars(evaluated).items():
        if name.startswith("_tensor_constant") and not torch.equal(value, getattr(trained, name, value)):
            raise ModelError(
                "a tensor that forward makes is another one in training than in evaluation, or is random",
                "use nn.Dropout for noise, and no other use of self.training",
            )


def _restore_dropout(body: fx.GraphModule, node: fx.Node) -> None:
    """Turn functional dropout, frozen off by tracing in evaluation mode, back into a module that follows train()."""
    share = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
    name = f"{node.name}_module"
    body.add_submodule(name, DROPOUTS[node.target](share))
    node.op, node.target, node.args, node.kwargs = "call_module", name, (node.args[0],), {}
