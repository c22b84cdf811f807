"""HOST:PORT and sizes as people write them."""

from __future__ import annotations

import contextlib
import re

from ..errors import SettingError
from ..units import SIZE, parse_quantity


def parse_address(text: str, least_port: int = 0) -> tuple[str, int]:
    """``127.0.0.1:7000``, ``name:7000`` or ``[::1]:7000`` as (host, port)."""
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):(\d{1,5})", text.strip())
    if match is None:
        message = f"{text!r} is not an address (HOST:PORT)"
        raise SettingError(message, "write 127.0.0.1:7000 or [::1]:7000")
    port = int(match[3])
    if not least_port <= port <= 65535:
        raise SettingError(f"the port of {text!r} is not from {least_port} to 65535", "choose another port")
    return match[1] or match[2], port


def shown_address(host: str, port: int) -> str:
    """Return the inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_bytes(text: str, what: str, least: int = 1) -> int:
    """``500MB``, ``8GB``, ``2GiB`` or a number of bytes, at least ``least``."""
    with contextlib.suppress(ValueError):
        if (size := int(parse_quantity(text, SIZE))) >= least:
            return size
    raise SettingError(f"{what} is {text!r:.40}", "write a size as 500MB or 8GB")
