"""The state of an unfinished training, written whole or not at all."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole

FORMAT = 1


def write_checkpoint(path: Path, parts: Mapping[str, Any], **extra: Any) -> None:
    """Save the ``state_dict`` of every part and ``extra`` to ``path``."""
    state = {name: part.state_dict() for name, part in parts.items()}
    content = io.BytesIO()
    torch.save({"format": FORMAT, "parts": state, "extra": extra}, content)
    write_whole(path, content.getvalue())


def read_checkpoint(path: Path, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Load every part's state from ``path`` and return the extras; None if there is no checkpoint that fits.

    Only tensors and plain values are read, never code. An unreadable file means starting over, with a warning.
    """
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != FORMAT:
            raise ValueError(f"format {saved['format']}")
        states, extra = saved["parts"], dict(saved["extra"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        warnings.warn(f"{path} cannot be used ({error}); this training starts over", stacklevel=2)
        return None
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return extra
