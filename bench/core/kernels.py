"""The kernels of the private half against the floors of the same run: AES, garbling, transfers, linear, homomorphic.

    python bench/core/kernels.py [--rounds 7] [--print]

Every rate is of one thread. Each round times the floors and the kernels in turn; ratios are per round, so that a
machine whose speed drifts does not bend them. "cache": vectors that fit the second-level cache; "memory": that do not.
Writes bench/results/kernels_<hardware>_<date>.md.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from deepreduce import _core
from deepreduce.benchmark import measure_rates
from deepreduce.inference.protocol import Decrypted, OfflineLinear, OnlineLinear, add_uploads, encrypted_input
from deepreduce.plan import Conv, FixedPoint, Plan, packing_levels, packings

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
import results_page
from two_party import fresh, ot_pair  # a dealer for the base transfers: insecure, for tests and measurements

RING_BITS, SHIFT = 32, 12
CIRCUIT_GATES = 3 * (RING_BITS - 1) - SHIFT
SIZES = {"cache": 1 << 10, "memory": 1 << 18}  # ReLUs
OTS, OT_CALLS = 2048 * 20, 25  # a chunk of a session, so many times
CONVS = {"64@32x32": (64, 32), "128@16x16": (128, 16), "512@4x4": (512, 4)}  # 3x3, as many channels out as in

LIMITS = {"garble": 2.7, "evaluate": 4.5}


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Tables:
    """The kernels of a comparison by tables, on random transfers: 12 + 15 bits in digits of 4 and 5."""

    def __init__(self, relus: int) -> None:
        self.relus, self.repeats = relus, max(1, (1 << 14) // relus)
        self.delta, self.key = _core.Delta.random(), fresh(1)
        self.digits = _core.Digits([4, 4, 4, 5, 5, 5], [0, 1, 1, 1, 1, 1])
        self.transfers = fresh(relus * 27)
        self.rows = fresh(-(-27 * relus // 128))[: 27 * relus // 8].copy()
        self.own = self.rows[: 6 * relus // 8].copy()
        self.numbers = _core.random_ring(relus, 27)
        self.opening = _core.table_open(self.digits, self.numbers, self.rows)
        self.read = np.zeros(12 * relus // 8, np.uint8)
        self.tables = np.zeros(self.digits.table_bytes(relus), np.uint8)
        self.hashes = relus * 27 * self.repeats

    def pads_client(self) -> None:
        head = (self.key, 0, 0, self.digits, self.delta, self.transfers)
        for _ in range(self.repeats):
            _core.table_pads_send(*head, self.own, self.own, self.relus)

    def pads_server(self) -> None:
        for _ in range(self.repeats):
            _core.table_pads_receive(self.key, 0, 0, self.digits, self.transfers, self.rows, self.relus)

    def answer(self) -> None:
        for _ in range(self.repeats):
            _core.table_answer(self.digits, self.numbers, self.opening, self.tables)

    def reading(self) -> None:
        for _ in range(self.repeats):
            _core.table_read(self.digits, self.tables, self.rows, self.read, self.relus)


class Circuit:
    """The whole ReLU circuit of the delphi protocol on random labels."""

    def __init__(self, relus: int) -> None:
        relus //= 4  # tables of some megabytes
        self.repeats = max(1, (1 << 12) // relus)
        self.delta, self.key, self.seed = _core.Delta.random(), fresh(1), fresh(2)[:24]
        self.labels, self.server = fresh(relus * 2 * RING_BITS), fresh(relus * RING_BITS)
        self.tables = np.ones(relus * CIRCUIT_GATES * 32, np.uint8)
        self.gates = relus * CIRCUIT_GATES * self.repeats

    def garble(self) -> None:
        head = ("relu", RING_BITS, SHIFT, self.delta, self.key, self.seed, 0)
        for _ in range(self.repeats):
            _core.circuit_garble(*head, self.labels, self.tables, 1)

    def evaluate(self) -> None:
        head = ("relu", RING_BITS, SHIFT, self.key, 0)
        for _ in range(self.repeats):
            _core.circuit_evaluate(*head, self.labels, self.server, self.tables, 1)


def transfers(sender, receiver) -> tuple[float, float]:
    """Seconds per correlated transfer: (receiver, sender)."""
    choices, active = fresh(OTS // 128), np.empty(OTS * 16, np.uint8)
    received = sent = 0.0
    for _ in range(OT_CALLS):
        duration, correction = timed(lambda: receiver.extend(choices, active))
        received += duration
        sent += timed(lambda: sender.extend(OTS, correction))[0]  # noqa: B023 (called at once)
    return received / OTS / OT_CALLS, sent / OTS / OT_CALLS


def timed(work):
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


class Linear:
    """One 3x3 convolution, online in plain integers and offline encrypted."""

    def __init__(self, channels: int, side: int) -> None:
        op = Conv("conv", ("input",), channels, (3, 3), (1, 1), (1,) * 4, 1, False, 12, 0)
        plan = Plan(1, FixedPoint(RING_BITS, 0), (channels, side, side), (op,), "conv", "rlwe-4096")
        rng = np.random.default_rng(0)
        weight = np.clip(np.rint(450 * rng.standard_normal((channels, channels, 3, 3))), -2047, 2047).astype(np.int16)
        self.packing = packings(plan)["conv"]
        self.macs = 9 * channels * channels * side * side
        arguments = plan, op, self.packing, {"conv.weight": weight}
        self.set_up, (self.plain, self.linear) = timed(lambda: (OnlineLinear(*arguments), OfflineLinear(*arguments, 1)))
        self.x = _core.random_ring(channels * side * side, RING_BITS).reshape(channels, side, side)
        self.share = np.zeros(channels * side * side, np.uint64)
        self.client = _core.HeClient(RING_BITS)
        levels = packing_levels(plan)
        self.server = _core.HeServer(RING_BITS, self.client.public_key() + self.client.packing_keys(levels), levels)
        self.weight_bytes = self.linear._weights.memory_bytes

    def online(self) -> None:
        self.plain.apply(self.x[None], self.share.reshape(1, *self.x.shape), 1)

    def offline(self) -> tuple[float, float]:
        """Seconds of (client, server): encrypting and decrypting, answering."""
        encrypting, frames = timed(lambda: list(encrypted_input(self.linear.layout, self.x, self.client, 1)))

        def answer() -> list[bytes]:
            uploads, first = self.linear.new_uploads(), 0
            for count, frame in zip(self.linear.layout.upload_frames, frames, strict=True):
                add_uploads(uploads, first, count, np.frombuffer(frame, np.uint8), 1)
                first += count
            return list(self.linear.respond(self.server, uploads, self.share, 1))

        answering, responses = timed(answer)

        def decrypt() -> None:
            result = Decrypted(self.linear.layout)
            for (first, count, _), frame in zip(self.linear.layout.response_frames(), responses, strict=True):
                result.add(self.client, first, count, np.frombuffer(frame, np.uint8), 1)
            result.output()

        return encrypting + timed(decrypt)[0], answering


def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Kernel -> (value, floor) of every round, in ns (per gate, transfer) or ms (per layer)."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    gates = {where: Circuit(size) for where, size in SIZES.items()}
    compared = {where: Tables(size) for where, size in SIZES.items()}
    pair = ot_pair()[:2]
    layers = {name: Linear(*shape) for name, shape in CONVS.items()}
    for _ in range(rounds + 1):
        rates = measure_rates(RING_BITS)
        call_ns = 1e9 / rates.aes_blocks
        found["AES, ns per block in registers"].append((call_ns, call_ns))
        for where, work in gates.items():
            for step, calls in (("garble", 4), ("evaluate", 2)):
                ns = 1e9 * seconds(getattr(work, step)) / work.gates
                found[f"{step} delphi, ns per AND, {where}"].append((ns, calls * call_ns))
        for where, tables in compared.items():
            for step, name, calls in (
                ("pads_client", "pads of tables, client", 2.0),
                ("pads_server", "pads of entries, server", 1.0),
                ("answer", "tables online, client", float("nan")),
                ("reading", "entries online, server", float("nan")),
            ):
                ns = 1e9 * seconds(getattr(tables, step)) / tables.hashes
                found[f"{name}, ns per transfer, {where}"].append((ns, calls * call_ns))
        for side, duration in zip(("receiver", "sender"), transfers(*pair), strict=True):
            # 32 trees of 16 leaves, a bit of each leaf's stream per transfer: four blocks
            found[f"transfer, ns, {side}"].append((1e9 * duration, 4 * call_ns))
        for name, layer in layers.items():
            found[f"convolution {name} online, ms"].append(
                (1e3 * seconds(layer.online), 1e3 * layer.macs / rates.multiply_adds)
            )
            client, server = layer.offline()
            read_ms = 1e3 * layer.weight_bytes / rates.memory_read_bytes
            found[f"convolution {name} offline server, ms"].append((1e3 * server, read_ms))
            found[f"convolution {name} offline client, ms"].append((1e3 * client, float("nan")))
            found[f"convolution {name} set-up, ms"].append((1e3 * layer.set_up, float("nan")))
    return {name: values[1:] for name, values in found.items()}  # the first round warms up


def row(name: str, values: list[tuple[float, float]]) -> list[str]:
    times, floors = ([value[i] for value in values] for i in (0, 1))
    ratios = [time / floor for time, floor in values]
    if np.isnan(floors[0]):
        return [name, f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})", "", ""]
    limit = next((f", goal {most}" for verb, most in LIMITS.items() if name.startswith(verb) and "cache" in name), "")
    return [
        name,
        f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})",
        f"{statistics.median(floors):.2f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}){limit}",
    ]


ABOUT = """One thread; medians of {rounds} rounds (minimum to maximum), each ratio within its round. Floors: garbling 4
and evaluating 2 AES calls per AND gate in registers; a transfer 4 AES blocks per side (goal: 10 ns); a convolution
online its multiply-adds in registers; the server's homomorphic answer one read of its transformed weights from memory.
A transfer of a table is one bit of a digit: two AES calls to make its pads, one to open; 27 a ReLU
(12 + 15 bits). 81 gates a ReLU for delphi. Convolutions are 3x3 on l = 32, set-up once per model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", choices=_core.cpu_paths(), default=_core.cpu_path())
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no file")
    arguments = parser.parse_args()
    _core.select_cpu_path(arguments.cpu)
    table = results_page.table(
        ["kernel", "median", "floor", "ratio"], [row(*item) for item in measure(arguments.rounds).items()]
    )
    print(table)
    if not arguments.print:
        theme = "kernels" if arguments.cpu == _core.cpu_paths()[-1] else f"kernels-{arguments.cpu}"
        page = results_page.path(theme, arguments.hardware)
        page.write_text(results_page.head("Kernels of the private half", ABOUT.format(rounds=arguments.rounds)) + table)
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
