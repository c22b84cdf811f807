"""From any ``nn.Module`` to a graph in which every ReLU is one node, or a refusal that says why not."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import ModelError
from .functionalize import functionalize
from .ops import is_foreign, module_of

BATCH = 2  # images in the probe; every size per image is a size over this


class _Tracer(fx.Tracer):
    """Goes into everything but torch's own childless modules: a container may hide ReLUs, such a leaf cannot."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("torch.nn") and not any(True for _ in m.children())


class _Shapes(fx.Interpreter):
    """Runs the graph and writes the shape of every tensor into its node (torch's ShapeProp takes 0.3 s to import)."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["shape"] = tuple(result.shape) if isinstance(result, Tensor) else None
        return result


def trace(module: nn.Module, input_shape: tuple[int, int, int]) -> fx.GraphModule:
    """Trace a copy of ``module`` for images of ``input_shape`` (c, h, w); the graph's nodes carry their shapes.

    In-place operations are made out-of-place, dead code is dropped, and the graph's output is compared with the
    module's own on random images: a graph that computes anything else is refused (`ModelError`), as is a module that
    cannot be traced, that computes through code the tracer cannot see, or that does not answer with [n, classes].
    """
    original = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, *input_shape, generator=generator)
    expected = _call(original, images, input_shape)
    body = _graph_of(copy.deepcopy(original))
    propagate_shapes(body, input_shape)
    with torch.no_grad():
        got = body(images)
    if not isinstance(got, Tensor) or got.shape != expected.shape or not torch.allclose(got, expected, 1e-4, 1e-5):
        raise ModelError(
            "the traced network does not compute what the module computes",
            "its forward must not depend on randomness, on hidden state or on the values of its input",
        )
    return body


def propagate_shapes(body: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Store the shape of every node's output for `BATCH` images in its ``meta``.

    Raises `ModelError` when the graph cannot take such images.
    """
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            _Shapes(body).run(torch.zeros(BATCH, *input_shape))
    except Exception as error:
        raise _refused_input(error, input_shape) from error
    finally:
        body.train(training)


def _call(module: nn.Module, images: Tensor, input_shape: tuple[int, int, int]) -> Tensor:
    try:
        with torch.no_grad():
            answer = module(images.clone())
    except Exception as error:
        raise _refused_input(error, input_shape) from error
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != BATCH:
        got = f"{tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ModelError(
            f"the network answers {BATCH} images with {got}", f"a classifier answers with logits [{BATCH}, classes]"
        )
    return answer


def _refused_input(error: Exception, input_shape: tuple[int, int, int]) -> ModelError:
    size = "x".join(map(str, input_shape))
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"the network cannot take {size} images: {reason}", "check its input channels and size")


def _graph_of(module: nn.Module) -> fx.GraphModule:
    parameters = inspect.signature(module.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind in plain]
    if len(required) > 1:
        raise ModelError(f"the network's forward needs {', '.join(required)}", "it must take one tensor of images")
    defaults = {p.name: p.default for p in list(parameters)[1:] if p.default is not p.empty}
    try:
        tracer = _Tracer()
        graph = tracer.trace(module, concrete_args=defaults)
        body = fx.GraphModule(tracer.root, graph)
        functionalize(body.graph)
        _restore_dropout(body)
        body.graph.eliminate_dead_code()
        for node in list(body.graph.nodes):
            if node.op == "placeholder" and node.name != next(iter(body.graph.nodes)).name:
                body.graph.erase_node(node)
        body.graph.lint()
        body.recompile()
        body.delete_all_unused_submodules()
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the network cannot be traced: {reason}",
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


def _restore_dropout(body: fx.GraphModule) -> None:
    """Turn functional dropout, frozen off by tracing in evaluation mode, back into a module that follows train()."""
    kinds = {nn.functional.dropout: nn.Dropout, nn.functional.dropout2d: nn.Dropout2d}
    for node in list(body.graph.nodes):
        if node.target not in kinds:
            continue
        share = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
        name = f"{node.name}_module"
        body.add_submodule(name, kinds[node.target](share))
        node.op, node.target, node.args, node.kwargs = "call_module", name, (node.args[0],), {}
