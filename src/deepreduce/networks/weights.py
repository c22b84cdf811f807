"""Trained weights of a network: a state dict, or a file of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ModelError, one_line
from .network import Network

WeightsLike = str | Path | Mapping[str, Tensor]


def load_weights(network: Network, weights: WeightsLike) -> None:
    """Load a state dict, or a file of one (.safetensors, or torch's .pt without code in it), into ``network``: all of
    it or nothing.

    Raises `ModelError` naming the first tensor that is missing, left over or of another shape.
    """
    path = weights_name(weights)
    state_dict = weights if isinstance(weights, Mapping) else _read_state(Path(weights).expanduser())
    found = {_plain(name): tensor for name, tensor in state_dict.items()}
    own = {_plain(name): name for name in network.state_dict()}
    for name in sorted(own.keys() ^ found.keys()):
        if name.endswith("num_batches_tracked"):
            continue
        wrong = "has no" if name in own else "has a tensor that the network lacks:"
        raise ModelError(f"{path} {wrong} {name!r}", "give the weights of this very network, unreduced")
    state = network.state_dict()
    for name, tensor in sorted(found.items()):
        if name in own and state[own[name]].shape != tensor.shape:
            raise ModelError(
                f"{path}: {name} is {tuple(tensor.shape)}, the network has {tuple(state[own[name]].shape)}",
                "check `width`, `input_shape` and the number of classes",
            )
    network.load_state_dict({own[name]: tensor for name, tensor in found.items() if name in own}, strict=False)


def weights_name(weights: WeightsLike) -> str:
    """Return what messages call ``weights``: the file, or "the state dict"."""
    return "the state dict" if isinstance(weights, Mapping) else str(weights)


def weights_digest(network: Network) -> str:
    """Return SHA-256 of a network's tensors, by name."""
    state = hashlib.sha256()
    for name, tensor in sorted(network.body.state_dict().items()):
        state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def _plain(name: str) -> str:
    for prefix in ("module.", "_orig_mod.", "body."):
        name = name.removeprefix(prefix)
    return name


def _read_state(path: Path) -> Mapping[str, Tensor]:
    """Return a state dict, or the one inside a checkpoint."""
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "give a .safetensors file or a .pt file of a state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file's bytes lead to
        raise ModelError(
            f"{path} holds no weights: {one_line(error):.150}", "save model.state_dict(), not the module"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path} holds no state dict", "save model.state_dict(), not the module")
    return content
