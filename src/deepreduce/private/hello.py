"""The beginning of a session: who speaks which version, who may come in, about which plan; and the base transfers.

1. client: HELLO {version, protocol, batch, token, pin}; server: HELLO {version, digest, parameter set}, PLAN
2. client: SETUP point A, homomorphic public key;     server: SETUP points B, point A'
3. client: SETUP seeds of the extension, points B';   server: SETUP seeds of the reverse extension
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from .. import _core
from ..errors import PlanError, SessionError
from ..plan import Plan, decode, digest, encode
from ..plan.cost import BASE_OTS, OT_SETUP
from .base_ot import POINT, BaseReceiver, BaseSender
from .transport import Channel, Kind

VERSION = 1
T = TypeVar("T", "ClientHello", "ServerHello")
K = 4  # SoftSpoken's tree depth: 4 bytes per transfer (AGREEMENT)
HELLO_LIMIT = 4096
PLAN_LIMIT = 1 << 26
MAX_BATCH = 1 << 12
MAX_TOKEN = 1024  # bytes


class RefusedError(SessionError):
    """The client was not let in."""


class LimitError(SessionError):
    """The client asked for more than the server's settings allow."""


class VersionError(SessionError):
    """The peer speaks another version of the protocol."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the client asks for. ``pin``: the only plan digest that it accepts."""

    version: int
    protocol: str
    batch: int
    token: str | None
    pin: str | None


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the client gets. ``max_prepared``: preparations that it may hold at a time."""

    version: int
    plan_digest: str
    parameter_set: str
    max_prepared: int


@dataclass(slots=True)
class Keys:
    """Both directions of the OT extension. State moves forward only; it ends with the connection."""

    ot: Any  # the direction of the labels: the server is sender
    reverse: Any  # of the products: the client is sender
    he: Any


def greet_server(channel: Channel, hello: ClientHello) -> tuple[Plan, int]:
    """The client's step 1: the plan, and how many preparations the server allows.

    Raises `SessionError` on another version or another plan than the pinned one.
    """
    channel.send(Kind.HELLO, json.dumps(asdict(hello)).encode())
    answer = _parse(channel.receive_upto(Kind.HELLO, HELLO_LIMIT), ServerHello, "server")
    content = channel.receive_upto(Kind.PLAN, PLAN_LIMIT)
    try:
        plan = decode(content)
    except PlanError as error:
        raise SessionError(f"the server sent a plan that cannot be used: {error.message}", error.hint) from None
    found = digest(plan)
    if found != answer.plan_digest or plan.parameter_set != answer.parameter_set:
        raise SessionError(f"the server's plan {found[:12]} is not the {answer.plan_digest[:12]} that it announced")
    if hello.pin is not None and found != hello.pin:
        raise SessionError(
            f"the server's plan is {found[:12]}, pinned is {hello.pin[:12]}", "ask the operator which is right"
        )
    return plan, answer.max_prepared


def greet_client(
    channel: Channel, plan: Plan, token: str | None, most_prepared: Callable[[ClientHello], int]
) -> tuple[ClientHello, int]:
    """The server's step 1. Sends nothing about the plan to a client without the token."""
    hello = _parse(channel.receive_upto(Kind.HELLO, HELLO_LIMIT), ClientHello, "client")
    if token is not None and not hmac.compare_digest(token.encode(), (hello.token or "").encode()):
        raise RefusedError("the client has no valid token")
    most = most_prepared(hello)
    if most < 1:
        raise LimitError(f"the client asked for protocol {hello.protocol!r:.20} and batches of {hello.batch}")
    answer = ServerHello(VERSION, digest(plan), plan.parameter_set, most)
    channel.send(Kind.HELLO, json.dumps(asdict(answer)).encode())
    channel.send(Kind.PLAN, encode(plan))
    return hello, most


def client_keys(channel: Channel, plan: Plan) -> Keys:
    """The client's steps 2 and 3."""
    he = _core.HeClient(plan.ring.ring_bits)
    sender = BaseSender()
    channel.send(Kind.SETUP, sender.message, he.public_key())
    answer = channel.receive(Kind.SETUP, BASE_OTS * POINT + POINT).tobytes()
    ot = _core.OtReceiver(K, sender.keys(answer[: BASE_OTS * POINT]))
    delta = _core.Delta.random()
    base = BaseReceiver(answer[BASE_OTS * POINT :], delta.bits())
    channel.send(Kind.SETUP, np.ascontiguousarray(ot.set_up), base.message)
    reverse = _core.OtSender(K, delta, base.keys, channel.receive(Kind.SETUP, OT_SETUP))
    return Keys(ot, reverse, he)


def server_keys(channel: Channel, plan: Plan) -> Keys:
    """The server's steps 2 and 3."""
    public_key_bytes = _core.he_parameters(plan.ring.ring_bits)["public_key_bytes"]
    request = channel.receive(Kind.SETUP, POINT + public_key_bytes)
    try:
        he = _core.HeServer(plan.ring.ring_bits, request[POINT:].tobytes())
    except ValueError as error:
        raise SessionError(f"the client's public key cannot be used: {error}") from None
    delta = _core.Delta.random()
    base = BaseReceiver(request[:POINT].tobytes(), delta.bits())
    sender = BaseSender()
    channel.send(Kind.SETUP, base.message, sender.message)
    answer = channel.receive(Kind.SETUP, OT_SETUP + BASE_OTS * POINT)
    ot = _core.OtSender(K, delta, base.keys, np.ascontiguousarray(answer[:OT_SETUP]))
    reverse = _core.OtReceiver(K, sender.keys(answer[OT_SETUP:].tobytes()))
    channel.send(Kind.SETUP, np.ascontiguousarray(reverse.set_up))
    return Keys(ot, reverse, he)


def _parse(content: bytes, kind: type[T], peer: str) -> T:
    try:
        data = json.loads(content)
        version = data["version"]
        if type(version) is int and version != VERSION:  # whose other fields may mean other things
            raise VersionError(f"the {peer} speaks version {version}, this is {VERSION}", "install the same version")
        hello = kind(**data)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SessionError(f"the {peer} sent a hello that cannot be read", "it may be another version") from None
    texts = {str, str | None, "str", "str | None"}
    for name, hint in kind.__annotations__.items():
        value = getattr(hello, name)
        fits = (
            (isinstance(value, str) or (value is None and "None" in str(hint))) if hint in texts else type(value) is int
        )
        if not fits:
            raise SessionError(f"the {peer} sent a hello with a wrong {name}", "it may be another version")
    return hello
