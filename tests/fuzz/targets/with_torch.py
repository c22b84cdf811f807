"""The targets of the learning half; importing this adds them to `target.TARGETS`."""

from . import data, networks

__all__ = ["data", "networks"]
