"""Lower bounds of these protocols on this machine, from the measured rates of its resources.

The floor of the online ReLUs counts, for the evaluating client: AES in registers (two calls per AND gate, and one per
ReLU for the pad that opens an element), one read of its prepared material from memory, and the online bytes both ways
over TCP. All three could overlap, so the floor is the largest of them, one core each; their sum is what one thread
that does one thing at a time needs. On a shaped network a message each way per round has to pass the link, too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from .. import _core
from ..plan import Conv, Linear, MaxPool, Plan, Relu, predict, shapes
from ..plan.cost.network_link import NetworkLink
from ..plan.cost.traffic import interactive, level_rounds
from ..plan.execution.maxpool import pairs_per_level
from ..plan.execution.messages import DEFAULT, Protocol, Vector, relu_vector
from ..plan.execution.schedule import online_levels
from ..plan.schema import kept_mask
from ..plan.validation import weight_shape

AES_BLOCKS = 1 << 19
MEMORY_BYTES = 1 << 28
LOOPBACK_BYTES, MESSAGE_BYTES = 1 << 28, 1 << 20
REPEATS = 3  # the best counts: what disturbs a run only slows it


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one core, per second; ``loopback``: bytes through a TCP connection, a core at each end."""

    aes_blocks: float
    memory_read_bytes: float
    memory_copy_bytes: float
    loopback_bytes: float
    multiply_adds: float


@dataclass(frozen=True, slots=True)
class ReluFloor:
    """Microseconds per ReLU that each resource needs for the online ReLUs of a plan."""

    aes_us: float
    memory_us: float
    transfer_us: float

    @property
    def floor_us(self) -> float:
        """All overlap."""
        return max(self.aes_us, self.memory_us, self.transfer_us)

    @property
    def serial_us(self) -> float:
        """None overlap."""
        return self.aes_us + self.memory_us + self.transfer_us


def measure_rates(ring_bits: int = 32) -> Rates:
    """About one second of measuring on the kernel path in use."""
    source = np.ones(MEMORY_BYTES // 8, np.uint64)  # written: pages never touched are all one page of zeros
    target = np.zeros_like(source)
    blocks = AES_BLOCKS if _core.cpu_path() != "scalar" else AES_BLOCKS >> 6
    return Rates(
        aes_blocks=blocks / _best(lambda: _core.bench_aes(blocks)),
        memory_read_bytes=MEMORY_BYTES / _best(lambda: source.max()),
        memory_copy_bytes=MEMORY_BYTES / _best(lambda: np.copyto(target, source)),
        loopback_bytes=LOOPBACK_BYTES / _best(_through_loopback),
        multiply_adds=_core.bench_multiply_add_peak(ring_bits),
    )


def relu_floor(
    plan: Plan, rates: Rates, protocol: Protocol = DEFAULT, batch: int = 1, link: NetworkLink | None = None
) -> ReluFloor:
    """Return the floor of all online comparisons of a valid plan together, per comparison; zeros if it has none."""
    predicted, found = predict(plan, protocol, batch).ops, shapes(plan)
    ring_bits = plan.ring.ring_bits
    calls = material = moved = relus = 0
    for op in plan.ops:
        if not isinstance(op, Relu | MaxPool):
            continue
        operand = found[op.inputs[0]]
        if isinstance(op, MaxPool):
            counts, shift = pairs_per_level(op, operand), 0
        else:
            counts, shift = [int(kept_mask(op, prod(operand)).sum())], op.shift
        vectors = [relu_vector(batch * count, ring_bits, shift, op.window, protocol) for count in counts]
        calls += sum(aes_calls(vector) for vector in vectors)
        relus += sum(vector.elements for vector in vectors)
        material += interactive(op, operand, ring_bits, protocol, batch).stored_bytes_client
        moved += predicted[op.name].online.up_bytes + predicted[op.name].online.down_bytes
    if not relus:
        return ReluFloor(0.0, 0.0, 0.0)
    transfer_s = moved / rates.loopback_bytes
    if link is not None:
        transfer_s = max(transfer_s, 8 * moved / link.rate) + _comparing_rounds(plan, protocol) * link.round_trip
    return ReluFloor(
        1e6 * calls / rates.aes_blocks / relus,
        1e6 * material / rates.memory_read_bytes / relus,
        1e6 * transfer_s / relus,
    )


def _comparing_rounds(plan: Plan, protocol: Protocol) -> int:
    comparing = {op.name for op in plan.ops if isinstance(op, Relu | MaxPool)}
    levels = zip(online_levels(plan), level_rounds(plan, protocol), strict=True)
    return sum(rounds for level, rounds in levels if any(step.op in comparing for step in level))


def aes_calls(vector: Vector) -> int:
    """AES calls of the evaluator of a vector online: two per AND gate of ``delphi``; ``ot`` has none."""
    return vector.padded * 2 * vector.gates


def linear_floor_s(plan: Plan, rates: Rates, batch: int = 1) -> float:
    """Seconds of the plain linear ops online at the full multiply-add rate of one core."""
    found, products = shapes(plan), 0
    for op in plan.ops:
        if isinstance(op, Conv | Linear):
            products += prod(weight_shape(op, found[op.inputs[0]])) * prod(found[op.name][1:])
    return batch * products / rates.multiply_adds


def _best(work: Callable[[], object]) -> float:
    """Return the shortest of some runs, in seconds, after one that warms up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _through_loopback() -> None:
    """Messages over a connection of this process with itself; both ends wait without holding Python's lock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    message = b"." * MESSAGE_BYTES

    def send() -> None:
        with near, contextlib.suppress(OSError):  # the receiver may be interrupted
            for _ in range(LOOPBACK_BYTES // MESSAGE_BYTES):
                near.sendall(message)

    sender = threading.Thread(target=send)
    sender.start()
    with far:
        buffer = memoryview(bytearray(MESSAGE_BYTES))
        while far.recv_into(buffer):
            pass
    sender.join()
