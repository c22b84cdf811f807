"""The former name of `deepreduce.inference`, kept for one release: what it offered is here, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

from .. import inference

__all__ = dir(inference)
_RENAMED = {"Preparer": "BackgroundPreparer"}


def __getattr__(name: str) -> Any:
    found = getattr(inference, _RENAMED.get(name, name))
    if not name.startswith("__"):
        warnings.warn(
            f"deepreduce.private is called deepreduce.inference now: import {_RENAMED.get(name, name)} from there",
            DeprecationWarning,
            stacklevel=2,
        )
    return found
