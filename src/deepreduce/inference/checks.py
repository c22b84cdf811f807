"""Range checks of settings, shared by client and server."""

from __future__ import annotations

import re

import numpy as np

from ..errors import SettingError
from .transport.handshake import MAX_TOKEN

MAX_THREADS = 256


def check_between(name: str, value: int, least: int, most: int) -> None:
    """Raises `SettingError` unless ``value`` is an integer within the bounds."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        raise SettingError(f"{name} is {value!r:.40}", f"an integer from {least} to {most} is needed")


def check_seconds(name: str, value: float) -> None:
    """Raises `SettingError` unless ``value`` is a positive, finite number."""
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise SettingError(f"{name} is {value!r:.40}", "a positive number of seconds is needed")


def check_token(token: str | None) -> None:
    """Raises `SettingError` unless there is none or it is a text that a hello can carry."""
    if token is not None and (not isinstance(token, str) or not 0 < len(token.encode()) <= MAX_TOKEN):
        raise SettingError("the token is not a text", f"give 1 to {MAX_TOKEN} bytes of text, or None for no token")


def checked_pin(pin: str | None) -> str | None:
    """Return a plan's digest as plans spell it, in small letters. Raises `SettingError` unless it is 64 hexadecimal
    digits.
    """
    if pin is None:
        return None
    if not isinstance(pin, str) or not re.fullmatch("[0-9a-fA-F]{64}", pin):
        raise SettingError(
            f"the pin is {pin!r:.80}",
            "give the plan's digest, 64 hexadecimal digits, which serve prints",
        )
    return pin.lower()


def check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises `SettingError` unless ``value`` is one of the known ones."""
    if value not in known:
        raise SettingError(f"unknown {name} {value!r:.40}", f"known: {', '.join(known)}")
