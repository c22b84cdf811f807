"""Small ONNX files that spell the same networks in many ways."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, constants, shape=("n", 2, 6, 6), outputs=("y",), opset=17):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], f"node_{output}", **attributes)


def weights(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


HEAD = [node("GlobalAveragePool", "last", "pool"), node("Flatten", "pool", "flat"), node("Gemm", "flat W", "y")]
CONSTANTS = {"W": weights(4, 3), "C": weights(4, 2, 3, 3), "D": weights(4, 4, 3, 3), "b": weights(4)}
CONV = [node("Conv", "x C b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r")]
ints = lambda *values: np.array(values, np.int64)  # noqa: E731

SPELLINGS = {
    "strides and groups": (
        [*CONV, node("Conv", "r G", "last", group=2, strides=[2, 2])], {"G": weights(4, 2, 3, 3)}
    ),
    "same padding": ([*CONV, node("Conv", "r D", "last", auto_pad="SAME_UPPER", strides=[2, 2])], {}),
    "padding on one side": ([*CONV, node("Conv", "r D", "last", pads=[0, 0, 2, 2], strides=[2, 2])], {}),
    "pad": ([*CONV, node("Pad", "r p", "q"), node("Conv", "q D", "last")], {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)}),
    "batch norm": (
        [node("Conv", "x C", "c"), node("BatchNormalization", "c s b m v", "n"), node("Relu", "n", "last")],
        {"s": weights(4), "m": weights(4), "v": np.abs(weights(4)) + 1},
    ),
    "clip": ([*CONV[:1], node("Clip", "c zero six", "last")], {"zero": np.float32(0), "six": np.float32(6)}),
    "clip without a maximum": ([*CONV[:1], node("Clip", "c zero", "last")], {"zero": np.float32(0)}),
    "shortcut": ([*CONV, node("Conv", "r D", "d", pads=[1, 1, 1, 1]), node("Add", "r d", "last")], {}),
    "sum of three": (
        [*CONV, node("Conv", "r D", "d", pads=[1, 1, 1, 1]), node("Sum", "r d r", "last")], {}
    ),
    "scaled at the input": (
        [node("Sub", "x mean", "x1"), node("Div", "x1 std", "x2"), node("Conv", "x2 C b", "c"),
         node("Relu", "c", "last")],
        {"mean": weights(1, 2, 1, 1), "std": np.abs(weights(2, 1, 1)) + 1},
    ),
    "one minus": ([node("Sub", "one x", "m"), node("Conv", "m C b", "c"), node("Relu", "c", "last")],
                  {"one": np.float32(1)}),
    "scaled behind a convolution": (
        [*CONV[:1], node("Mul", "c half", "h"), node("Add", "h t", "g"), node("Relu", "g", "last")],
        {"half": np.float32(0.5), "t": weights(4, 1, 1)},
    ),
    "scaled and read twice": (
        [*CONV, node("Mul", "r half", "h"), node("Add", "h r", "last")], {"half": np.float32(0.5)}
    ),
    "concatenation": (
        [*CONV, node("Conv", "x C", "e", pads=[1, 1, 1, 1]), node("Concat", "r e", "k", axis=1),
         node("Conv", "k K", "last")],
        {"K": weights(4, 8, 1, 1)},
    ),
    "pools": (
        [*CONV, node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
         node("AveragePool", "m", "last", kernel_shape=[3, 3])], {},
    ),
    "max-pool padded on one side": (
        [*CONV, node("MaxPool", "r", "last", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {}
    ),
    "identities": (
        [*CONV, node("Identity", "r", "i"), node("Dropout", "i", "o"), node("Cast", "o", "last", to=1)], {}
    ),
    "scaled under another name": (
        [*CONV[:1], node("Identity", "c", "i"), node("Mul", "i half", "h"), node("Relu", "c", "r"),
         node("Add", "r h", "last")],
        {"half": np.float32(0.5)},
    ),
    "pools rounded up where nothing is left over": (
        [*CONV, node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
         node("AveragePool", "m", "last", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1, auto_pad="SAME_UPPER")], {},
    ),
    "clip by arrays of one": (
        [*CONV[:1], node("Clip", "c zero six", "last")],
        {"zero": np.zeros(1, np.float32), "six": np.full(1, 6, np.float32)},
    ),
    "constants computed": (
        [node("Constant", "", "two", value=numpy_helper.from_array(np.float32(2))), node("Mul", "C two", "C2"),
         node("Conv", "x C2 b", "c"), node("Relu", "c", "last")], {},
    ),
}  # fmt: skip
