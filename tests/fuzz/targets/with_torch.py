"""The targets of the learning half and of what it writes, which need the extra `search`; adds them to `TARGETS`."""

from . import data, networks, reports

__all__ = ["data", "networks", "reports"]
