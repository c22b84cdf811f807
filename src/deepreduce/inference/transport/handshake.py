"""The beginning of a session: who speaks which version, who may come in, about which plan; and the keys.

1. client: HELLO {version, protocol, batch, token, known, identity, keeps, plan}
   server: HELLO {version, digest, parameter set, preparations allowed, identity, keeps, metered}, PLAN unless known
       or: PLANS {names ...} (plan_list.py), if the client asks for them, or for a plan that the server does not have
   Before the server has admitted the client (access) it sends nothing but an error, which says nothing of the plan.
Only before the first preparation of a connection:
2. client: SETUP point A, seed, homomorphic keys;          server: SETUP points B, lattice keys
3. client: SETUP ciphertexts, trees, choices;              server: SETUP trees of the reverse extension
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import TypeVar, get_args, get_type_hints

from ...errors import PlanError, SessionError
from ...files import parse_json
from ...plan import Plan, decode
from .channel import Channel
from .frames import Kind
from .limit import Limit
from .plan_list import PLANS_LIMIT, PlanOffer, UnknownPlanError, decode_offers, is_plan_name

VERSION = 7
T = TypeVar("T", "ClientHello", "ServerHello")
HELLO_LIMIT = 4096
PLAN_LIMIT = 1 << 26
MAX_BATCH = 1 << 12
MAX_TOKEN = 1024  # bytes


class RefusedError(SessionError):
    """The client was not let in."""


class LimitError(SessionError):
    """The client asked for more than the server's settings allow, by the ``limit`` that it is told."""

    def __init__(self, message: str, limit: Limit) -> None:
        super().__init__(message)
        self.limit = limit


class VersionError(SessionError):
    """The peer speaks another version of the protocol."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """Request of the client. ``known``: the digest of a plan that it need not be sent. ``identity``: 64 hexadecimal
    digits, secret, to which what it prepares is bound. ``keeps``: it has a store. ``plan``: the name of the one that
    it is for, "" for the only one, or the one without a name; None: it asks which plans there are.
    """

    version: int
    protocol: str
    batch: int
    token: str | None = field(repr=False)
    known: str | None
    identity: str = field(repr=False)
    keeps: bool
    plan: str | None


@dataclass(frozen=True, slots=True)
class ServerHello:
    """Answer of the server. ``max_prepared``: preparations that it may hold at a time. ``identity`` names the server's
    store, for this plan and these weights. ``keeps``: it has a store, so that what is prepared outlives the connection.
    ``metered``: the client's use is limited; it should ask before it burns anything (quota_check).
    """

    version: int
    plan_digest: str
    parameter_set: str
    max_prepared: int
    identity: str
    keeps: bool
    metered: bool = False


def greet_server(channel: Channel, hello: ClientHello) -> tuple[ServerHello, bytes | None]:
    """Return the client's step 1: what the server says, and the plan's bytes unless it is the known one.

    Raises `UnknownPlanError` when the server has no plan of that name.
    """
    channel.send(Kind.HELLO, json.dumps(asdict(hello)).encode())
    kind, content = channel.receive_either({Kind.HELLO: HELLO_LIMIT, Kind.PLANS: PLANS_LIMIT})
    if kind == Kind.PLANS:
        raise UnknownPlanError(hello.plan or "", decode_offers(content))
    answer = _parse(content, ServerHello, "server")
    if not re.fullmatch("[0-9a-f]{64}", answer.plan_digest) or not re.fullmatch("[0-9a-f]{32}", answer.identity):
        raise SessionError("the server sent a hello with a wrong digest or identity", "it may be another version")
    if answer.plan_digest == hello.known:
        return answer, None
    return answer, channel.receive_upto(Kind.PLAN, PLAN_LIMIT)


def ask_plans(channel: Channel, hello: ClientHello) -> list[PlanOffer]:
    """Return the plans that the server has; ``hello`` names none."""
    channel.send(Kind.HELLO, json.dumps(asdict(hello)).encode())
    return decode_offers(channel.receive_upto(Kind.PLANS, PLANS_LIMIT))


def checked_plan(answer: ServerHello, content: bytes, pin: str | None) -> Plan:
    """Return the plan that the server announced. Raises `SessionError` when it is another one, or not the
    pinned one.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != answer.plan_digest:
        raise SessionError(f"the server's plan {found[:12]} is not the {answer.plan_digest[:12]} that it announced")
    if pin is not None and found != pin:
        raise SessionError(
            f"the server's plan is {found[:12]}, pinned is {pin[:12]}",
            "ask the operator which is right; a server may have loaded another version",
        )
    try:
        plan = decode(content)
    except PlanError as error:
        raise SessionError(f"the server sent a plan that cannot be used: {error.message}", error.hint) from None
    if plan.parameter_set != answer.parameter_set:
        raise SessionError(f"the server announced {answer.parameter_set!r:.40}, its plan says {plan.parameter_set}")
    return plan


def read_hello(channel: Channel) -> ClientHello:
    """Return the server's step 1, first half: who asks for what. Nobody is let in by it."""
    hello = _parse(channel.receive_upto(Kind.HELLO, HELLO_LIMIT), ClientHello, "client")
    if not re.fullmatch("[0-9a-f]{64}", hello.identity):
        raise SessionError("the client sent a hello with a wrong identity", "it may be another version")
    if hello.plan and not is_plan_name(hello.plan):
        raise SessionError("the client sent a hello with a wrong plan", "it may be another version")
    return hello


def greet_client(channel: Channel, hello: ClientHello, answer: ServerHello, plan: bytes) -> None:
    """The server's step 1, second half; ``plan``: its canonical bytes."""
    channel.send(Kind.HELLO, json.dumps(asdict(answer)).encode())
    if hello.known != answer.plan_digest:
        channel.send(Kind.PLAN, plan)


def _parse(content: bytes, kind: type[T], peer: str) -> T:
    try:
        data = parse_json(content)
        version = data["version"]
        if type(version) is int and version != VERSION:  # whose other fields may mean other things
            raise VersionError(f"the {peer} speaks version {version}, this is {VERSION}", "install the same version")
        hello = kind(**data)
    except (ValueError, TypeError, KeyError):
        raise SessionError(f"the {peer} sent a hello that cannot be read", "it may be another version") from None
    for name, hint in get_type_hints(kind).items():
        if type(getattr(hello, name)) not in (get_args(hint) or (hint,)):  # exactly: a bool is no int
            raise SessionError(f"the {peer} sent a hello with a wrong {name}", "it may be another version")
    return hello
