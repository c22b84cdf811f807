"""ONNX files of other tools read, and files of ours run by onnxruntime."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from deepreduce.errors import ModelError
from deepreduce.export import export_network
from deepreduce.export.onnx_check import onnx_difference
from deepreduce.export.onnx_export import write_onnx
from deepreduce.lowering import lower
from deepreduce.networks import ModelSource
from deepreduce.networks.onnx.importer import read_onnx
from deepreduce.plan import decode_output, encode_input, run
from deepreduce.reduce import reduce_to

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper  # noqa: E402  # behind the skip

from onnx_spellings import CONSTANTS, CONV, HEAD, SPELLINGS, ints, node, save, weights  # noqa: E402  # behind the skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_layers(tmp_path, name):
    nodes, more = SPELLINGS[name]
    path = save(tmp_path / "net.onnx", [*nodes, *HEAD], {**CONSTANTS, **more})
    network = ModelSource(str(path)).build((2, 6, 6))
    assert onnx_difference(path, network) < 1e-4
    lower(network)  # and plans can have it


TAILS = {
    "mean": [node("ReduceMean", "r axes", "flat", keepdims=0), node("Gemm", "flat W", "y")],
    "mean with attributes": [node("ReduceMean", "r", "k", axes=[2, 3]), node("Squeeze", "k side", "flat"),
                             node("MatMul", "flat W", "m"), node("Add", "m t", "y")],
    "reshape": [node("GlobalAveragePool", "r", "g"), node("Reshape", "g shape", "flat"), node("Gemm", "flat W", "y")],
    "shape, gather, concat": [
        node("GlobalAveragePool", "r", "g"), node("Shape", "g", "s"), node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n zero1", "n1"), node("Concat", "n1 rest", "to", axis=0), node("Reshape", "g to", "flat"),
        node("Gemm", "flat T", "y", transB=1, alpha=0.5),
    ],
    "1x1 convolution": [node("GlobalAveragePool", "r", "g"), node("Conv", "g O", "y")],
    "softmax": [*[n for n in HEAD if n.op_type != "Gemm"], node("Gemm", "flat W", "z"), node("Softmax", "z", "y")],
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_spellings_of_the_end(tmp_path, name):
    nodes = TAILS[name]
    if name in {"softmax"}:
        nodes = [node("GlobalAveragePool", "r", "pool"), *nodes[1:]]
    more = {"axes": ints(2, 3), "side": ints(2, 3), "t": weights(3), "shape": ints(-1, 4), "zero": np.int64(0),
            "zero1": ints(0), "rest": ints(-1), "T": weights(3, 4), "O": weights(3, 4, 1, 1)}  # fmt: skip
    opset = 18 if name == "mean" else 17
    path = save(tmp_path / "net.onnx", [*CONV, *nodes], {**CONSTANTS, **more}, opset=opset)
    network = ModelSource(str(path)).build((2, 6, 6))
    assert onnx_difference(path, network) < 1e-4
    assert bool(read_onnx(path).notices) == (name == "softmax")


def test_channels_last(tmp_path):
    """As Keras's converters write: transposed at the input, flattened channels last."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t C b", "c"), node("Relu", "c", "r"),
        node("Transpose", "r", "l", perm=[0, 2, 3, 1]), node("Add", "l u", "v"),
        node("Reshape", "v shape", "f"), node("MatMul", "f M", "m"), node("Add", "m o", "y"),
    ]  # fmt: skip
    more = {"shape": ints(-1, 64), "M": weights(64, 3), "o": weights(3), "u": weights(4)}
    path = save(tmp_path / "net.onnx", nodes, {**CONSTANTS, **more}, ("n", 6, 6, 2))
    assert read_onnx(path).input_shape == (2, 6, 6)
    assert onnx_difference(path, ModelSource(str(path)).build((2, 6, 6))) < 1e-4


REFUSED = {
    "LSTM": ([node("LSTM", "x W W", "y", hidden_size=4)], r"LSTM \(node 'node_y'\) cannot be put"),
    "Sigmoid": ([*CONV[:1], node("Sigmoid", "c", "last"), *HEAD], r"Sigmoid \(node 'node_last'\).*plans have Add"),
    "softmax inside": ([*CONV[:1], node("Softmax", "c", "last"), *HEAD], r"Softmax .* behind the logits only"),
    "product": ([*CONV, node("Mul", "c r", "last"), *HEAD], r"Mul .* multiply by constants only"),
    "clip": ([*CONV[:1], node("Clip", "c one", "last"), *HEAD], r"clips to 1.0 .. None"),
    "mean over channels": ([*CONV, node("ReduceMean", "r", "y", axes=[1])], r"ReduceMean .* both sides"),
    "permuted": ([*CONV, node("Transpose", "r", "last", perm=[0, 1, 3, 2]), *HEAD], r"Transpose .* \[0, 1, 3, 2\]"),
    "reflected": ([*CONV, node("Pad", "r p", "last", mode="reflect"), *HEAD], r"Pad .* constant zeros"),
    "dilated average": (
        [*CONV, node("AveragePool", "r", "last", kernel_shape=[2, 2], dilations=[2, 2]), *HEAD],
        r"AveragePool .* put into a plan",
    ),
    "a flattened map as channels": (
        [*CONV, node("Flatten", "r", "f"), node("Reshape", "f s", "u"), node("GlobalAveragePool", "u", "y")],
        r"Reshape .* put into a plan",
    ),
    "flattened with the images": ([*CONV, node("Flatten", "r", "f", axis=4), node("Gemm", "f W", "y")], r"Flatten"),
    "indices": (
        [*CONV, helper.make_node("MaxPool", ["r"], ["m", "at"], kernel_shape=[2, 2]), node("Identity", "at", "y")],
        r"Identity \(node 'node_y'\)",
    ),
    "two of four pads": ([*CONV, node("Conv", "r D", "last", pads=[1, 1]), *HEAD], r"Conv \(node 'node_last'\)"),
    "no such groups": ([*CONV, node("Conv", "r D", "last", group=3), *HEAD], r"Conv \(node 'node_last'\)"),
    "divided by zero": ([*CONV, node("Div", "r zero", "last"), *HEAD], r"Div \(node 'node_last'\)"),
    "weights that are computed": ([node("Conv", "x x", "last"), *HEAD], r"Conv .* must be constant"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_plans_cannot_have_is_named(tmp_path, name):
    nodes, message = REFUSED[name]
    more = {"one": np.float32(1), "zero": np.float32(0), "s": ints(1, -1, 1, 1), "p": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    path = save(tmp_path / "net.onnx", nodes, {**CONSTANTS, **more}, opset=19)
    with pytest.raises(ModelError, match=message):
        ModelSource(str(path)).build((2, 6, 6))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_onnx(tmp_path / "missing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense")
    with pytest.raises(ModelError, match="is not an ONNX network"):
        read_onnx(tmp_path / "bad.onnx")
    path = save(tmp_path / "net.onnx", [*CONV, node("Relu", "r", "last"), *HEAD], CONSTANTS)
    with pytest.raises(ModelError, match="takes images of 2x6x6, not 3x6x6"):
        ModelSource(str(path)).build((3, 6, 6))
    path = save(tmp_path / "two.onnx", [*CONV, node("Relu", "r", "last"), *HEAD], CONSTANTS, outputs=("y", "r"))
    with pytest.raises(ModelError, match="answers with 2 values: r, y"):
        read_onnx(path)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.down, self.short = nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(4, 8, 1, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.relu6(self.down(x) + self.short(x))
        return torch.log_softmax(self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)), 1)


@pytest.mark.parametrize("dynamo", [False, True])
def test_files_of_torch(tmp_path, dynamo):
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module = Small().eval()
    module.norm.running_var.uniform_(0.5, 2)
    path = tmp_path / "torch.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"external_data": False} if dynamo else {}
        torch.onnx.export(module, (torch.randn(1, 1, 8, 8),), path, dynamo=dynamo, verbose=False, **options)
    network = ModelSource(str(path)).build((1, 8, 8))
    assert onnx_difference(path, network) < 1e-4
    assert "LogSoftmax" in read_onnx(path).notices[0]
    images = torch.randn(4, 1, 8, 8)
    assert torch.allclose(torch.log_softmax(network.eval()(images), 1), module(images), atol=1e-5)
    assert reduce_to(network, network.layout.stages[-1]).relus < network.relus  # searched as any other network


def test_a_file_of_scikit_learn_becomes_a_plan_for_arrays(tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = MLPClassifier((32, 16), max_iter=15, random_state=0).fit(images[:1000], labels[:1000])
        (tmp_path / "mlp.onnx").write_bytes(skl2onnx.to_onnx(classifier, images[:1]).SerializeToString())
    read = read_onnx(tmp_path / "mlp.onnx")
    assert (read.input_shape, read.file_shape) == ((64, 1, 1), (64,))
    network = ModelSource(str(tmp_path / "mlp.onnx")).build(read.input_shape)
    assert onnx_difference(tmp_path / "mlp.onnx", network) < 1e-4
    exported = export_network(network.eval(), images[:200, :, None, None])
    assert exported.plan.pictures is None and exported.plan.input_shape == (64, 1, 1)
    x = encode_input(exported.plan, images[1000:, :, None, None])
    chosen = decode_output(exported.plan, run(exported.plan, exported.weights, x)[exported.plan.output]).argmax(1)
    assert (classifier.classes_[chosen] == classifier.predict(images[1000:])).mean() > 0.995


@pytest.mark.parametrize("merge", [False, True])
def test_files_of_ours_compute_the_same(tmp_path, merge):
    torch.manual_seed(0)
    full = ModelSource("resnet10", 0.125).build((3, 16, 16), 7)
    for name, point in (("resnet", "S2^RT+S3^RT"), ("shrunk", "S2, rho=0.5")):
        network = reduce_to(full, point)
        assert write_onnx(tmp_path / f"{name}.onnx", network, merge=merge) < 1e-4
        content = onnx.load(tmp_path / f"{name}.onnx")
        linear = [n for n in content.graph.node if n.op_type in {"Conv", "Gemm"}]
        assert (len(linear) < len(lower(network).weights)) == merge
        again = ModelSource(str(tmp_path / f"{name}.onnx")).build(network.body_shape)
        assert again.relus == network.relus
    network = ModelSource("mobilenet_v2", 0.125).build((3, 16, 16), 5)
    assert write_onnx(tmp_path / "mobile.onnx", network, merge=merge) < 1e-3
