"""Quota check: a metered client asks before it spends one-time material (docs/reference/protocol.md, "Quotas").

client: QUOTA_CHECK {what}
server: QUOTA_ANSWER {granted, seconds until it is worth asking again (0: not known), limit}
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ...errors import SessionError
from ...units import show_duration
from ..transport.channel import Channel
from ..transport.errors import PeerError
from ..transport.frames import Kind, Reason
from ..transport.limit import LIMIT, NO_LIMIT, Limit, limit_of

ANSWER = struct.Struct("<BI")
QUESTION_BYTES = 1  # byte


class QuotaQuestion(IntEnum):
    """Subject of a quota check."""

    PREDICTION = 1
    PREPARATION = 2


@dataclass(frozen=True, slots=True)
class QuotaAnswer:
    """The answer. ``retry_s``: when to ask again, where that is known; else 0. ``limit``: the quota that is used up."""

    granted: bool
    retry_s: int = 0
    limit: Limit = NO_LIMIT

    def encoded(self) -> bytes:
        """18 bytes."""
        return ANSWER.pack(self.granted, min(self.retry_s, 0xFFFFFFFF)) + self.limit.encoded()


def asked_for(content: bytes) -> QuotaQuestion:
    """Return what a client asks. Raises `SessionError`."""
    try:
        return QuotaQuestion(content[0])
    except ValueError:
        raise SessionError(f"the client asked for something unknown, {content[0]}") from None


def ask(channel: Channel, asked: QuotaQuestion) -> QuotaAnswer:
    """Return the client's question, and the answer."""
    channel.send(Kind.QUOTA_CHECK, bytes([asked]))
    content = channel.receive(Kind.QUOTA_ANSWER, ANSWER.size + LIMIT.size).tobytes()
    granted, retry_s = ANSWER.unpack(content[: ANSWER.size])
    if granted > 1:
        raise SessionError("the server sent an answer that is neither yes nor no", "it may be another version")
    return QuotaAnswer(bool(granted), retry_s, limit_of(content[ANSWER.size :]))


def refusal(asked: QuotaQuestion, answer: QuotaAnswer) -> PeerError:
    """Return the message to the client; the session goes on, and nothing prepared is lost."""
    what = "predictions" if asked == QuotaQuestion.PREDICTION else "preparations"
    wait_s = answer.retry_s if answer.retry_s < 120 else -(-answer.retry_s // 60) * 60  # shown in minutes: rounded up
    hint = f"try again in {show_duration(wait_s)}" if wait_s else "ask its operator for more"
    text = f"the server's quota of {what} is used up" + (f": {answer.limit.text}" if answer.limit.text else "")
    hint = answer.limit.hint or hint
    return PeerError(text, f"{hint}; what is prepared is kept", Reason.QUOTA, answer.limit)
