"""The state of an unfinished training, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole

FORMAT = 1
DIGEST = 32  # bytes of SHA-256 before the content: torch does not notice flipped bits


def write_checkpoint(path: Path, parts: Mapping[str, Any], **extra: Any) -> None:
    """Save the ``state_dict`` of every part and ``extra`` to ``path``."""
    state = {name: part.state_dict() for name, part in parts.items()}
    content = io.BytesIO()
    torch.save({"format": FORMAT, "parts": state, "extra": extra}, content)
    write_whole(path, hashlib.sha256(content.getvalue()).digest() + content.getvalue())


def is_intact(content: bytes) -> bool:
    """Return whether a checkpoint file's content is what was written."""
    return hashlib.sha256(content[DIGEST:]).digest() == content[:DIGEST]


def read_checkpoint(path: Path, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Load every part's state from ``path`` and return the extras; None if no checkpoint fits.

    Only tensors and plain values are read, never code. An unreadable file means starting over, with a warning.
    """
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        if not is_intact(content):
            raise ValueError("its content is not what was written")
        saved = torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
        if saved["format"] != FORMAT:
            raise ValueError(f"format {saved['format']}")
        states, extra = saved["parts"], dict(saved["extra"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        warnings.warn(f"{path} cannot be used ({error}); this training starts over", stacklevel=2)
        return None
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return extra
