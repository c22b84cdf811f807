"""An ONNX file compared with the network that was read from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import ModelError
from ..networks.network import Network
from ..networks.onnx.importer import load_model, read_onnx
from .onnx_export import TOLERANCE, run_onnx


def onnx_difference(path: str | Path, network: Network, images: int = 4) -> float | None:
    """Return the largest difference between onnxruntime's logits for random images and those of the unreduced
    ``network``.

    None where onnxruntime is not installed. Raises `ModelError` when they are not the same.
    """
    from onnx import TensorProto, helper

    read = read_onnx(path, network.input_shape)
    model = load_model(Path(path).expanduser())
    given = next(i for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer})
    if given.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return None
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info(read.logits))
    x = torch.randn(images, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(x).numpy()
    kind = np.float32 if given.type.tensor_type.elem_type == TensorProto.FLOAT else np.float64
    array = x.numpy().astype(kind)
    shaped = array.transpose(0, 2, 3, 1) if read.file_shape != read.input_shape and len(read.file_shape) == 3 else array
    answers = run_onnx(model.SerializeToString(), given.name, shaped.reshape(images, *read.file_shape), read.logits)
    if answers is None:
        return None
    difference = float(np.abs(answers.reshape(expected.shape) - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ModelError(
            f"{path}: the network that was read from it differs from onnxruntime's by {difference:.2g}",
            "please report it, with the file",
        )
    return difference
