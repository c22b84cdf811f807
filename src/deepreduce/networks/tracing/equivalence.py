"""The test that every traced graph must pass: same outputs and same gradients as the module it came from.

Both get the same randomly disturbed weights first. As they come, weights can hide differences: a last layer that
starts at zero makes all outputs equal.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from ...errors import ModelError
from .shapes import BATCH, refused_input

TOLERANCE = 1e-4  # of the largest value; the same operations in the same order differ by rounding at most
HINT = "its forward must not depend on randomness, on hidden state or on the values of its input"


def check_equivalence(original: nn.Module, body: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Compare ``body`` with ``original`` (in evaluation mode) on random images of ``input_shape`` (c, h, w).

    Raises `ModelError` if the original fails on such images, does not answer with logits [n, classes], or if outputs or
    gradients differ.
    """
    module, graph = copy.deepcopy(original), copy.deepcopy(body).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.1 * torch.randn(tensor.shape, generator=generator)
                tensor.mul_(noise.exp()) if name.endswith("running_var") else tensor.add_(noise)
    graph.load_state_dict(module.state_dict(), strict=False)  # the graph may lack unused parts, and has constants
    try:
        images = torch.randn(BATCH, *input_shape, generator=generator)
        expected = module(images.clone())
    except Exception as error:
        raise refused_input(error, input_shape) from error
    if not isinstance(expected, Tensor) or expected.ndim != 2 or len(expected) != BATCH:
        got = f"{tuple(expected.shape)}" if isinstance(expected, Tensor) else type(expected).__name__
        raise ModelError(
            f"the network answers {BATCH} images with {got}", f"a classifier answers with logits [{BATCH}, classes]"
        )
    answered = graph(images)
    if not isinstance(answered, Tensor) or not _close(answered, expected):
        raise ModelError("the traced network does not compute what the module computes", HINT)
    _compare_gradients(module, graph, expected, answered)


def _compare_gradients(module: nn.Module, graph: nn.Module, expected: Tensor, answered: Tensor) -> None:
    if expected.requires_grad != answered.requires_grad:
        raise ModelError("the traced network does not learn what the module learns", HINT)
    if not expected.requires_grad:
        return
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    try:
        expected.backward(direction)  # type: ignore[no-untyped-call]  # torch does not annotate it
    except RuntimeError:
        return  # in-place operations keep the module itself from being trained; the graph has none
    answered.backward(direction)  # type: ignore[no-untyped-call]  # torch does not annotate it
    theirs = dict(graph.named_parameters())
    for name, parameter in module.named_parameters():
        ours, traced = parameter.grad, theirs[name].grad if name in theirs else None
        if (ours is None) != (traced is None) or (ours is not None and traced is not None and not _close(traced, ours)):
            raise ModelError(
                f"the traced network does not learn what the module learns: the gradients of {name!r} differ",
                "custom gradients and torch.no_grad() inside forward cannot be traced; freeze with requires_grad",
            )


def _close(value: Tensor, reference: Tensor) -> bool:
    if value.shape != reference.shape:
        return False
    scale = float(reference.detach().abs().max()) if reference.numel() else 0.0
    return torch.allclose(value, reference, rtol=TOLERANCE, atol=TOLERANCE * scale)
