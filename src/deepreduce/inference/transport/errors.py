"""Errors of a connection."""

from __future__ import annotations

from ...errors import SessionError
from .frames import Reason
from .limit import NO_LIMIT, Limit


class LostError(SessionError):
    """The connection ended in the middle."""


class UnreachableError(SessionError):
    """No server answers at the address, or its connection ends before its hello."""


class SilenceError(SessionError):
    """The peer did not send, or did not read, in time."""


class CertificateError(SessionError):
    """The peer wants a certificate, or another one than ours."""


class PeerError(SessionError):
    """The peer told us why it ended the session, or did not do what was asked; ``limit``: if one was reached."""

    def __init__(self, message: str, hint: str = "", reason: int = 0, limit: Limit = NO_LIMIT) -> None:
        super().__init__(message, hint)
        self.reason, self.limit = reason, limit


class BusyError(PeerError):
    """The server has no room now: try again in about ``retry_s`` seconds.

    Nothing that was prepared is lost by it. Where a preparation was asked for the session goes on; ``renew``: with new
    keys, since the server has lost its own.
    """

    def __init__(self, retry_s: int, renew: bool = False, limit: Limit = NO_LIMIT) -> None:
        super().__init__(
            f"the server is busy, try again in {retry_s} s" + (f": {limit.text}" if limit.text else ""),
            "try again later, or allow waiting: `wait` SECONDS",
            Reason.BUSY,
            limit,
        )
        self.retry_s, self.renew = retry_s, renew
