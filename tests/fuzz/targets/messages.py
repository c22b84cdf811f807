"""Messages of a session, one parser at a time: frames, both hellos, set-up, ciphertexts, vectors, ring elements."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from deepreduce import _core
from deepreduce.errors import SessionError
from deepreduce.inference.protocol.base_ot import BaseReceiver, BaseSender
from deepreduce.inference.protocol.key_setup import client_keys, server_keys, setup_request_bytes
from deepreduce.inference.protocol.linear import Decrypted, PackingLayout, add_uploads, encrypted_input, offline_linears
from deepreduce.inference.protocol.nonlinear.registry import client_vector, server_vector
from deepreduce.inference.protocol.nonlinear.vector import unpack
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.errors import PeerError
from deepreduce.inference.transport.frames import BUSY, HEADER, REASONS, Kind, Reason
from deepreduce.inference.transport.handshake import (
    VERSION,
    ClientHello,
    ServerHello,
    checked_plan,
    greet_server,
    read_hello,
)
from deepreduce.inference.transport.limit import Limit, LimitKind
from deepreduce.inference.transport.plan_list import PLANS_LIMIT, PlanOffer, decode_offers, encode_offers
from deepreduce.plan import encode, packings
from deepreduce.plan.cost.traffic import BASE_ANSWER, BASE_CIPHERTEXTS, BASE_REQUEST
from deepreduce.plan.execution.messages import relu_vector, rescale_vector
from deepreduce.plan.execution.packing import packing_levels
from fuzz.edits import joined, parts, patch, patched
from fuzz.mutators import json_mutator
from fuzz.sessions_plan import PLAN, WEIGHTS
from fuzz.target import target
from fuzz.wire import Wire
from two_party import ot_pair

TIMEOUT_S = 60.0
CLIENT = ClientHello(VERSION, "ot", 1, "open sesame", None, "12" * 32, True, "")
CONTENT = encode(PLAN)
SERVER = ServerHello(VERSION, hashlib.sha256(CONTENT).hexdigest(), PLAN.parameter_set, 8, "34" * 16, True)


class Recording:
    """A stream that holds what the peer sent, and notes what is sent to it."""

    def __init__(self, content: bytes) -> None:
        self.rest, self.sent = memoryview(content), bytearray()

    def send(self, *parts: object) -> None:
        for part in parts:
            self.sent += bytes(part)  # type: ignore[call-overload]

    def receive_into(self, view: memoryview) -> int:
        count = min(len(view), len(self.rest))
        view[:count], self.rest = self.rest[:count], self.rest[count:]
        return count

    def readable(self) -> bool:
        return bool(self.rest)

    def set_timeout(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.rest = memoryview(b"")

    finish = shutdown = close


def channel(content: bytes) -> Channel:
    """One that has received ``content``."""
    return Channel(Recording(content), "peer", TIMEOUT_S)


def framed(*frames: tuple[Kind, bytes]) -> bytes:
    """The frames as a channel sends them."""
    stream = Recording(b"")
    sender = Channel(stream, "peer", TIMEOUT_S)
    for kind, content in frames:
        sender.send(kind, content)
    return bytes(stream.sent)


# --- frames ----------------------------------------------------------------------------------------------------------

WANTED = ({Kind.INPUT: 24, Kind.BYE: 0}, {Kind.SETUP: 40, Kind.BYE: 0}, {Kind.PREPARE: 16})


def frame_seeds() -> Iterator[bytes]:
    yield bytes([0, 1]) + framed((Kind.HELLO, b"x" * 9), (Kind.INPUT, bytes(24)))
    yield bytes([1, 2, 3]) + framed((Kind.SETUP, bytes(40)), (Kind.BYE, b""), (Kind.PREPARE, bytes(16)))
    yield bytes([0]) + framed((Kind.ERROR, bytes([min(REASONS)])))
    yield bytes([0]) + HEADER.pack(Kind.HELLO, 0, 0, 0xFFFFFFFF)


@target(frame_seeds)
def frames(data: bytes) -> None:
    """Up to four frames, each received in the way that a byte says; what was received is sent as it came."""
    order, content = data[:4], data[4:]
    receiver, again, stream = channel(content), [], content
    for way in order:
        if way % 4 == 0:
            again.append((Kind.HELLO, receiver.receive_upto(Kind.HELLO, 64)))
        elif way % 4 == 3:
            receiver.check_open()
            return
        else:
            lengths = WANTED[way % 3]
            kind = receiver.next_of(lengths, 1.0)
            again.append((kind, receiver.content(lengths[kind]).tobytes()))
    assert stream.startswith(framed(*again))
    assert receiver.meter is not None


# --- hellos ----------------------------------------------------------------------------------------------------------


def client_hello_seeds() -> Iterator[bytes]:
    yield json.dumps(asdict(CLIENT)).encode()
    yield json.dumps({**asdict(CLIENT), "version": 1}).encode()
    yield json.dumps({**asdict(CLIENT), "token": None, "known": "ab" * 32}).encode()
    yield json.dumps({**asdict(CLIENT), "plan": None}).encode()
    yield json.dumps({**asdict(CLIENT), "plan": "small-1.2_x"}).encode()


def dumped(content: object) -> bytes:
    """As hellos are written."""
    return json.dumps(content).encode()


@target(client_hello_seeds, most_bytes=5000, mutate=json_mutator(dumped))
def client_hello(data: bytes) -> None:
    """What a server reads first, from anyone."""
    hello = read_hello(channel(framed((Kind.HELLO, data))))
    assert read_hello(channel(framed((Kind.HELLO, dumped(asdict(hello)))))) == hello


def server_hello_seeds() -> Iterator[bytes]:
    yield joined(dumped(asdict(SERVER)), CONTENT)
    yield joined(dumped({**asdict(SERVER), "parameter_set": "rlwe-8192"}), CONTENT)
    yield joined(dumped(asdict(SERVER)), b"")


def server_hello_mutator(data: bytes, random: object) -> bytes:
    """The hello as JSON, the plan by its own rules, and their digest right again."""
    first, plan = parts(data, 2)
    hello = json_mutator(dumped)(first, random)  # type: ignore[arg-type]
    return joined(hello[:4096], plan)


@target(server_hello_seeds, memory_mb=128, most_bytes=16_000, mutate=server_hello_mutator)
def server_hello(data: bytes) -> None:
    """What a client reads first: the hello, the plan, whose digest must be the one announced."""
    first, plan = parts(data, 2)
    pin = SERVER.plan_digest if len(data) % 2 else None
    answer, sent = greet_server(channel(framed((Kind.HELLO, first), (Kind.PLAN, plan))), CLIENT)
    assert sent is not None
    assert encode(checked_plan(answer, sent, pin)) == plan


def plan_list_seeds() -> Iterator[bytes]:
    sizes = {"ot": (1 << 20, 1 << 16), "delphi": (1 << 24, 1 << 14)}
    offers = [PlanOffer(name, "ab" * 32, (3, 32, 32), 10, 1000, sizes) for name in ("", "small", "large-1.2")]
    yield encode_offers(offers)
    yield encode_offers([])


@target(plan_list_seeds, most_bytes=5000, mutate=json_mutator(dumped))
def plan_list(data: bytes) -> None:
    """A server's list of plans, which a client shows."""
    offers = decode_offers(channel(framed((Kind.PLANS, data))).receive_upto(Kind.PLANS, PLANS_LIMIT))
    assert decode_offers(encode_offers(offers)) == offers
    assert all(offer.name.isascii() and offer.name.isprintable() for offer in offers)


# --- set-up ----------------------------------------------------------------------------------------------------------


@functools.cache
def recorded() -> tuple[bytes, bytes]:
    """What a client and a server send in the set-up: (request, points and seeds), (points, seeds)."""
    wire = Wire(0, ())
    sent: dict[int, list[bytes]] = {0: [], 1: []}
    for side, end in enumerate(wire.ends):
        send = end.send

        def noting(*parts: object, side: int = side, send: object = send) -> None:
            sent[side].append(b"".join(bytes(part) for part in parts)[HEADER.size :])  # type: ignore[call-overload]
            send(*parts)  # type: ignore[operator]

        end.send = noting  # type: ignore[method-assign]
    client, server = (Channel(end, "peer", TIMEOUT_S) for end in wire.ends)
    length = setup_request_bytes(PLAN)
    thread = threading.Thread(target=lambda: server_keys(server, PLAN, server.receive(Kind.SETUP, length)))
    thread.start()
    client_keys(client, PLAN)
    thread.join()
    return b"".join(sent[0]), b"".join(sent[1])


ORDER_1 = bytes.fromhex("01" + "00" * 31)  # the neutral element
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
NO_POINT = bytes.fromhex("02" + "00" * 31)


def set_up_seeds() -> Iterator[bytes]:
    yield b""
    for point in (ORDER_1, ORDER_8, NO_POINT, b"\xff" * 32):
        yield patch(0, point)
    yield patch(32 + 16, b"\xff" * 8)
    yield patch(4096, b"\xff" * 3)  # a coefficient of a public key that is too large
    yield patch(60_000, b"\x00" * 32)


@target(set_up_seeds, most_bytes=512)
def set_up_at_the_server(data: bytes) -> None:
    """A client's two set-up messages, damaged: point, key, ciphertexts, trees, correction."""
    sent = patched(recorded()[0], data)
    length = setup_request_bytes(PLAN)
    receiver = channel(framed((Kind.SETUP, sent[length:])))
    keys = server_keys(receiver, PLAN, np.frombuffer(sent[:length], np.uint8))
    assert keys.ot.delta.bits()[0] == 1


@target(set_up_seeds, most_bytes=512)
def set_up_at_the_client(data: bytes) -> None:
    """A server's two set-up messages, damaged. The recorded answer is to another request, which nobody can tell."""
    sent = patched(recorded()[1], data)
    client_keys(channel(framed((Kind.SETUP, sent[:BASE_ANSWER]), (Kind.SETUP, sent[BASE_ANSWER:]))), PLAN)


# --- ciphertexts -----------------------------------------------------------------------------------------------------


@functools.cache
def ciphertexts() -> tuple[PackingLayout, _core.HeClient, list[bytes], list[bytes]]:
    """The first linear op's layout, the client's keys, and the frames that both parties send for it."""
    bits = PLAN.ring.ring_bits
    client, levels = _core.HeClient(bits), packing_levels(PLAN)
    linear = offline_linears(PLAN, WEIGHTS, 1, 1 << 30)["c"]
    layout = PackingLayout(packings(PLAN)["c"], bits)
    up = list(encrypted_input(layout, np.zeros(PLAN.input_shape, np.uint64), client, 1))
    uploads, first = linear.new_uploads(), 0
    for count, frame in zip(layout.upload_frames, up, strict=True):
        add_uploads(uploads, first, count, np.frombuffer(frame, np.uint8), 1)
        first += count
    share = np.zeros(len(layout.value_order), np.uint64)
    down = list(
        linear.respond(
            _core.HeServer(bits, client.public_key() + client.packing_keys(levels), levels), uploads, share, 1
        )
    )
    return layout, client, up, down


def ciphertext_seeds() -> Iterator[bytes]:
    yield b""
    yield patch(16, b"\xff" * 7)
    yield patch(0, b"\x00" * 16)
    yield patch(25_000, b"\xfe" * 64)


@target(ciphertext_seeds, most_bytes=2048)
def uploads(data: bytes) -> None:
    """A client's ciphertexts: residues below their primes."""
    layout, _, up, _ = ciphertexts()
    count = layout.upload_frames[0]
    content = np.frombuffer(patched(up[0], data), np.uint8)
    blocks = layout.packing.channel_blocks
    add_uploads(
        [_core.HeUpload(PLAN.ring.ring_bits, blocks) for _ in range(layout.packing.tiles)], 0, count, content, 1
    )


@target(ciphertext_seeds, most_bytes=2048)
def responses(data: bytes) -> None:
    """A server's ciphertexts: coefficients below the modulus, padding zero; whatever is read is in the ring."""
    layout, client, _, down = ciphertexts()
    first, count, length = next(layout.response_frames())
    assert len(down[0]) == length
    collected = Decrypted(layout)
    collected.add(client, first, count, np.frombuffer(patched(down[0], data), np.uint8), 1)
    assert (collected.output() < 1 << PLAN.ring.ring_bits).all()


# --- vectors ---------------------------------------------------------------------------------------------------------

ELEMENTS = 21
SHAPES = [
    make(bits)
    for bits in (7, 32, 41, 64)
    for make in (
        lambda bits: relu_vector(ELEMENTS, bits, 2, bits - 1, "ot"),
        lambda bits: rescale_vector(ELEMENTS, bits, 3, bits - 1, "ot"),
        lambda bits: relu_vector(ELEMENTS, bits, 2, bits - 1, "delphi"),
        lambda bits: rescale_vector(ELEMENTS, bits, 3, bits, "delphi"),
    )
]
MESSAGES = ("choices", "garbled", "products", *(f"{way} {number}" for number in range(6) for way in ("down", "up")))


def vector_seeds() -> Iterator[bytes]:
    for shape in range(len(SHAPES)):
        for message in range(len(MESSAGES)):
            yield bytes([shape, message]) + patch(3, b"\x80\x01")
    yield bytes([0, 1])
    yield bytes([1, 4]) + patch(90, b"\xff" * 200)


@target(vector_seeds, most_bytes=2048)
def vectors(data: bytes) -> None:
    """Both roles of a vector, one of whose messages is damaged; untouched, the result is the function's."""
    if len(data) < 2:
        return
    vector, damaged = SHAPES[data[0] % len(SHAPES)], MESSAGES[data[1] % len(MESSAGES)]

    def arriving(name: str, content: object) -> np.ndarray:
        sent = np.ascontiguousarray(content).reshape(-1).view(np.uint8).tobytes()
        return fresh_array(patched(sent, data[2:]) if name == damaged else sent)

    mask = np.uint64(2**vector.ring_bits - 1)
    chunk = vector.chunks[0]
    values = np.zeros(chunk.padded, np.uint64)
    values[:ELEMENTS] = np.arange(ELEMENTS) % 16  # within every window
    share = _core.random_ring(chunk.padded, vector.ring_bits)
    ot_sender, ot_receiver, _ = ot_pair()
    reverse_sender, reverse_receiver, _ = ot_pair()
    client, server = client_vector(vector, 1), server_vector(vector, 1)
    choices = client.choose(chunk, share, ot_receiver)
    choices = arriving("choices", choices) if chunk.choices else None
    products = client.receive_garbled(
        chunk, arriving("garbled", server.garble(chunk, choices, ot_sender, reverse_receiver)), reverse_sender
    )
    if chunk.products:
        server.receive_products(chunk, arriving("products", products))
    other = (values - share) & mask
    for number in range(vector.rounds):
        down = arriving(f"down {number}", server.send(number, chunk, other))
        result = server.receive(number, chunk, other, arriving(f"up {number}", client.answer(number, chunk, down)))
    assert result is not None and (result <= mask).all()
    if len(data) < 6:  # nothing was damaged
        opened = ((result + client.mask[: chunk.padded]) & mask)[:ELEMENTS]
        assert np.array_equal(opened, values[:ELEMENTS] >> np.uint64(vector.shift))


def fresh_array(content: bytes) -> np.ndarray:
    """As the transport receives it: aligned, writable."""
    out = np.empty(len(content), np.uint8)
    out[:] = np.frombuffer(content, np.uint8)
    return out


def ring_seeds() -> Iterator[bytes]:
    for bits in (1, 7, 8, 31, 32, 33, 63, 64):
        yield bytes([bits - 1, 5]) + bytes(-(-5 * bits // 8))
    yield bytes([6, 1, 0xFF])


@target(ring_seeds)
def ring_elements(data: bytes) -> None:
    """Packed elements of any width: one spelling each."""
    if len(data) < 2:
        return
    bits, count, content = data[0] % 64 + 1, data[1], fresh_array(data[2:])
    packed = _core.pack(unpack(content, count, bits), bits)
    assert packed.tobytes() == content.tobytes()


def point_seeds() -> Iterator[bytes]:
    for point in (ORDER_1, ORDER_8, NO_POINT, b"\xff" * 32):
        yield bytes([0]) + patch(0, point)
        yield bytes([1]) + patch(0, point)
    yield bytes([1]) + patch(4096, b"\xff" * 3)


@target(point_seeds, most_bytes=512)
def base_points(data: bytes) -> None:
    """Points, public keys and ciphertexts of the base transfers, for both roles."""
    if data[:1] == b"\0":
        receiver = BaseReceiver(patched(bytes(BASE_REQUEST), data[1:]), np.zeros(128, np.uint8))
        assert receiver.keys(patched(bytes(BASE_CIPHERTEXTS), data[1:])).shape == (128 * 16,)
        return
    sender = BaseSender()
    honest = BaseReceiver(sender.message, np.ones(128, np.uint8)).message
    keys, ciphertexts = sender.keys(patched(honest, data[1:]))
    assert (keys.shape, len(ciphertexts)) == ((128 * 2 * 16,), BASE_CIPHERTEXTS)


def farewell_seeds() -> Iterator[bytes]:
    for reason in REASONS:
        yield framed((Kind.ERROR, bytes([reason])))
    for kind in LimitKind:
        yield framed((Kind.ERROR, bytes([Reason.LIMIT]) + Limit(kind, 1 << 40, 86400).encoded()))
    yield framed((Kind.BUSY, BUSY.pack(5, False) + Limit(LimitKind.MEMORY).encoded()))
    yield framed((Kind.RESULT, bytes(7)), (Kind.ERROR, b"\x63"))


@target(farewell_seeds)
def farewells(data: bytes) -> None:
    """What is read after a failed send: the peer's reason, behind anything."""

    class Broken(Recording):
        def send(self, *parts: object) -> None:
            raise BrokenPipeError("gone")

    broken = Channel(Broken(data), "peer", TIMEOUT_S)
    try:
        broken.send(Kind.INPUT, b"x")
    except PeerError as error:
        assert error.message
    except SessionError:
        pass
    else:
        raise AssertionError("a send that failed")
