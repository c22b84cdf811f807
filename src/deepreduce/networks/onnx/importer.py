"""Import of an ONNX file as an ``nn.Module`` that can be traced like any other.

The file's nodes are walked in order. What depends on constants alone is computed at once (by ONNX's own reference
implementation), what depends on the image becomes a torch module (``operators``), and what stands behind the logits
(softmax, argmax, labels) is left out with a notice.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MissingPackageError, ModelError, one_line
from .builder import Builder, OnnxNetwork, Shape

if TYPE_CHECKING:
    import onnx


def read_onnx(path: str | Path, input_shape: Shape | None = None) -> OnnxNetwork:
    """Read the network in an ONNX file; ``input_shape`` (c, h, w) is for files that leave their size open.

    Raises `ModelError`, naming operator and node, for what plans cannot have.
    """
    path = Path(path).expanduser()
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    return _read(path, stamp, input_shape)


def load_model(path: Path) -> onnx.ModelProto:
    """Return the file's content. Raises `ModelError` for what is no ONNX, `MissingPackageError` without onnx."""
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError("ONNX files are read with onnx", "pip install 'deepreduce[onnx]'") from error
    try:
        model = onnx.load(path)
    except Exception as error:  # whatever the file's bytes lead to
        raise ModelError(f"{path} is not an ONNX network: {one_line(error):.200}", "export it again") from error
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX network: it has no nodes", "export it again")
    return model


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int, input_shape: Shape | None) -> OnnxNetwork:
    model = load_model(path)
    network = Builder(model, path, input_shape)
    for node in model.graph.node:
        network.add(node)
    return network.finish()
