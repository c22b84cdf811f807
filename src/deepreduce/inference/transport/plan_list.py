"""The list of a server's plans, for a client that was let in and asks for it, or asks for a plan that is not there.

server: PLANS {plans: [{name, digest, input shape, classes, ReLUs, bytes of an image offline and online}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from ...errors import SessionError, SettingError
from ...files import parse_json
from ...plan.execution.messages import Protocol
from .errors import PeerError

PLANS_LIMIT = 1 << 17  # bytes
MOST_PLANS = 256
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BOUND = 1 << 62


def is_plan_name(name: str) -> bool:
    """Return whether a plan may have this name on a server: letters, digits and . _ - (not first), at most 64."""
    return NAME.fullmatch(name) is not None


def check_plan_name(name: object) -> None:
    """Raises `SettingError` unless it is "" or a name that a plan may have."""
    if not isinstance(name, str) or (name and not is_plan_name(name)):
        raise SettingError(f"{name!r:.80} cannot name a plan", "use letters, digits and . _ -, at most 64 characters")


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """A plan that a server offers. ``bytes``: of one image, {protocol: (offline, online)}; ``name`` "": it has none."""

    name: str
    digest: str
    input_shape: tuple[int, ...]
    classes: int
    relus: int
    bytes: Mapping[str, tuple[int, int]] = field(hash=False)


class UnknownPlanError(PeerError):
    """The server has no plan of the name that was asked for; ``names``: those that it has."""

    def __init__(self, asked: str, offers: Sequence[PlanOffer]) -> None:
        self.names = tuple(offer.name for offer in offers)
        listed = ", ".join(name or "one without a name" for name in self.names) or "none"
        message = f"the server has no plan called {asked!r}" if asked else "the server has several plans"
        super().__init__(message, f"name one with `plan_name`; it has {listed:.2000}")


def encode_offers(offers: Sequence[PlanOffer]) -> bytes:
    """Return the content of the frame."""
    return json.dumps({"plans": [asdict(offer) for offer in offers]}).encode()


def decode_offers(content: bytes) -> list[PlanOffer]:
    """Return what the frame says. Raises `SessionError` at anything that a server of ours would not send."""
    try:
        listed = parse_json(content)["plans"]
        if type(listed) is not list or len(listed) > MOST_PLANS:
            raise ValueError("plans")
        return [_offer(**one) for one in listed]
    except (ValueError, TypeError, KeyError):
        raise SessionError("the server sent a list of plans that cannot be read", "it may be another version") from None


def _offer(name: Any, digest: Any, input_shape: Any, classes: Any, relus: Any, bytes: Any) -> PlanOffer:
    names = get_args(Protocol)
    if type(bytes) is not dict:
        raise ValueError("bytes")
    sizes = [size for pair in bytes.values() for size in pair]
    if not (
        type(name) is type(digest) is str
        and (not name or is_plan_name(name))
        and re.fullmatch("[0-9a-f]{64}", digest)
        and type(input_shape) is list
        and 1 <= len(input_shape) <= 4
        and all(key in names and type(pair) is list and len(pair) == 2 for key, pair in bytes.items())
        and all(type(number) is int and 0 <= number < _BOUND for number in (*input_shape, classes, relus, *sizes))
    ):
        raise ValueError("a field")
    sent = {key: (pair[0], pair[1]) for key, pair in bytes.items()}
    return PlanOffer(name, digest, tuple(input_shape), classes, relus, sent)
