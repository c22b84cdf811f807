"""The network that is exported, in floating point, as an ONNX file for other tools: merged, batch norms folded in."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import MissingPackageError, ModelError, one_line
from ..files import write_whole
from ..lowering.ir import Lowered
from ..lowering.lower import lower
from ..networks.network import Network
from ..plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Relu, Rescale, kept_mask
from ..plan.shapes import Shape, shape_of
from .merging.merge import merge_ops

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8
TOLERANCE = 1e-3  # of the largest answer: what single precision may do to a network


def write_onnx(path: Path, network: Network, *, merge: bool = True) -> float | None:
    """Write ``network`` to an ONNX file that takes normalized images [n, C, H, W], shrunk to the network's resolution.

    Returns the largest difference between the answers of onnxruntime and of the network, None where onnxruntime is not
    installed. Raises `ModelError` when they are not the same, `MissingPackageError` without onnx, `StoreError`.
    """
    lowered = lower(network)
    model = onnx_of(merge_ops(lowered) if merge else lowered)
    content = model.SerializeToString()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, *network.body_shape, generator=generator)
    with torch.no_grad():
        expected = network.eval().body(images).numpy()
    answers = run_onnx(content, "input", images.numpy(), "logits")
    difference = None if answers is None else float(np.abs(answers - expected).max())
    if difference is not None and not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ModelError(f"onnxruntime's answers differ from the network's by {difference:.2g}", "please report it")
    write_whole(path, content)
    return difference


def run_onnx(content: bytes, source: str, images: NDArray[Any], output: str) -> NDArray[Any] | None:
    """Return what onnxruntime computes at the tensor ``output``, image by image; None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run([output], {source: image[None]})[0] for image in images])
    except Exception as error:  # whatever it says about the file
        raise ModelError(f"onnxruntime refuses the network: {one_line(error):.200}", "please report it") from error


def onnx_of(lowered: Lowered) -> onnx.ModelProto:
    """Return an ONNX network with the ops of ``lowered``, by their names, and real weights in single precision."""
    try:
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise MissingPackageError("ONNX files are written with onnx", "pip install 'deepreduce[onnx]'") from error
    writer = _Writer(lowered)
    output = lowered.ops[-1].name
    shape = [shape_of_all(lowered)[output]]
    graph = helper.make_graph(
        [*writer.nodes, helper.make_node("Identity", [output], ["logits"], "logits")],
        "deepreduce",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *lowered.input_shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", *shape[0]])],
        writer.tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deepreduce")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return model


def shape_of_all(lowered: Lowered) -> dict[str, Shape]:
    """Return the shape of one image's tensor under every name."""
    found: dict[str, Shape] = {INPUT: lowered.input_shape}
    for op in lowered.ops:
        found[op.name] = shape_of(op, [found[name] for name in op.inputs])
    return found


class _Writer:
    """ONNX nodes and constants, op by op."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered, self.shapes = lowered, shape_of_all(lowered)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        for op in lowered.ops:
            self._add(op)

    def _add(self, op: Op) -> None:
        match op:
            case Conv():
                self._node("Conv", op, [*op.inputs, *self._weights(op)], **_window(op), group=op.groups)
            case Linear():
                self._node("Gemm", op, [*op.inputs, *self._weights(op)], transB=1)
            case Add():
                self._node("Sum", op, list(op.inputs))
            case Concat():
                self._node("Concat", op, list(op.inputs), axis=1)
            case AvgPool():  # a plan's pool is the sum
                mean = f"{op.name}.mean"
                self._node("AveragePool", op, list(op.inputs), [mean], **_window(op), count_include_pad=1)
                self._node("Mul", op, [mean, self._tensor(f"{op.name}.window", np.float32(prod(op.kernel)))])
            case MaxPool():
                self._node("MaxPool", op, list(op.inputs), **_window(op))
            case Relu(kept=None):
                self._node("Relu", op, list(op.inputs))
            case Relu():
                shape = self.shapes[op.name]
                mask = self._tensor(f"{op.name}.kept", kept_mask(op, prod(shape)).reshape(1, *shape))
                self._node("Relu", op, list(op.inputs), [f"{op.name}.all"])
                self._node("Where", op, [mask, f"{op.name}.all", op.inputs[0]])
            case Rescale():
                self._node("Identity", op, list(op.inputs))
            case Flatten():
                self._node("Flatten", op, list(op.inputs), axis=1)

    def _weights(self, op: Conv | Linear) -> list[str]:
        weight, bias = self.lowered.weights[op.name]
        names = [self._tensor(f"{op.name}.weight", weight.astype(np.float32))]
        return [*names, self._tensor(f"{op.name}.bias", bias.astype(np.float32))] if op.bias else names

    def _tensor(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _node(self, kind: str, op: Op, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> None:
        from onnx import helper

        outputs = outputs or [op.name]
        self.nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))


def _window(op: Conv | AvgPool | MaxPool) -> dict[str, Any]:
    top, bottom, left, right = op.padding
    return {"kernel_shape": list(op.kernel), "strides": list(op.stride), "pads": [top, left, bottom, right]}
