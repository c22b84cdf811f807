"""The shape of everything a traced graph computes, found by running it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ...errors import ModelError, one_line

BATCH = 2  # images in the probe; every size per image is a size over this


class _Shapes(fx.Interpreter):
    """Runs the graph and writes the shape of every tensor into its node (torch's ShapeProp takes 0.3 s to import).

    Refuses operations that change their input: a rewrite that moves or removes such a node would change what other
    nodes see, so all must have been made out-of-place before.
    """

    def run_node(self, n: fx.Node) -> Any:
        inputs = [value for value in map(self.env.get, n.all_input_nodes) if isinstance(value, Tensor)]
        versions = [value._version for value in inputs]
        result = super().run_node(n)
        if versions != [value._version for value in inputs]:
            raise ModelError(f"the operation {n.name!r} changes its input in place", "use its out-of-place form")
        n.meta["shape"] = tuple(result.shape) if isinstance(result, Tensor) else None
        return result


def propagate_shapes(body: fx.GraphModule, input_shape: tuple[int, int, int]) -> None:
    """Store the shape of every node's output for `BATCH` images of ``input_shape`` (c, h, w) in its ``meta``.

    Raises `ModelError` when the graph cannot take such images.
    """
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            _Shapes(body).run(torch.zeros(BATCH, *input_shape))
    except ModelError:
        raise
    except Exception as error:
        raise refused_input(error, input_shape) from error
    finally:
        body.train(training)


def refused_input(error: Exception, input_shape: tuple[int, int, int]) -> ModelError:
    """Return the error for images that a network failed on."""
    size = "x".join(map(str, input_shape))
    reason = one_line(error).split(" Exception raised from")[0].split(" While executing")[0]
    return ModelError(f"the network cannot take {size} images: {reason}", "check its input channels and size")
