"""Frames: kinds, reasons for errors, and the sizes of their headers."""

from __future__ import annotations

import struct
from enum import IntEnum

HEADER = struct.Struct("<BBHI")


BUSY = struct.Struct("<H?")  # seconds after which to try again; whether with new keys; a limit follows


class Kind(IntEnum):
    """Kind of a frame's content. docs/reference/protocol.md has the sequence."""

    HELLO = 1
    PLAN = 2
    SETUP = 3
    PREPARE = 4
    UPLOAD = 5
    RESPONSE = 6
    CHOICES = 7
    GARBLED = 8
    PRODUCTS = 9
    CLAIM = 10
    INPUT = 11
    LABELS = 12
    ANSWERS = 13
    RESULT = 14
    BYE = 15
    BUSY = 16
    QUOTA_CHECK = 21
    QUOTA_ANSWER = 22
    RESERVE = 23
    RESERVED = 24
    PROBE = 25
    PLANS = 26
    ERROR = 255


# What may still be on its way when a preparation is refused.
OF_A_PREPARATION = (Kind.UPLOAD, Kind.CHOICES, Kind.PRODUCTS, Kind.CLAIM)


class Reason(IntEnum):
    """The only things that a party tells its peer about an error: fixed codes, no text, no secrets.

    With LIMIT and QUOTA a limit follows (limit.py).
    """

    VERSION = 1
    REFUSED = 2
    MALFORMED = 3
    BATCH = 4
    LIMIT = 5
    INTERNAL = 6
    TIMEOUT = 7
    STOPPING = 8
    BUSY = 20
    QUOTA = 21


REASONS = {
    Reason.VERSION: (
        "it speaks another version of the protocol",
        "install the same version of deepreduce on both sides",
    ),
    Reason.REFUSED: ("access denied", "check the token, or the certificate"),
    Reason.MALFORMED: ("it could not accept a message of ours", "both sides drop the batch; connect again"),
    Reason.LIMIT: ("a limit of its settings was reached", "prepare fewer at a time, or try again later"),
    Reason.QUOTA: (
        "what it lets us use is used up",
        "use what is prepared, try again later, or ask its operator for more",
    ),
    Reason.TIMEOUT: ("we were silent for too long", "connect again"),
    Reason.STOPPING: ("it is being shut down", "connect again later; what is in stores is kept"),
    Reason.BUSY: ("it is busy", "try again later"),
    Reason.INTERNAL: ("it failed", "its operator finds the cause in its log"),
}
