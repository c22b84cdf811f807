"""Benchmark of private inference: both parties as processes of this machine, predicted and measured, beside the
roofline.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import SettingError
from ..inference.access.development_ca import make_certificates
from ..inference.client.client import Mode
from ..inference.server.settings import ServerSettings
from ..inference.transport.meter import OpPhase, Phase, Run
from ..plan import INPUT, OUTPUT, MaxPool, Plan, Relu, Rescale, digest, predict, read_plan, read_weights, shapes
from ..plan.cost.choice import Prefer, choose_protocol
from ..plan.cost.latency import Seconds, op_seconds
from ..plan.cost.network_link import for_link, parse_link
from ..plan.cost.traffic import Prediction
from ..plan.execution.messages import DEFAULT, Protocol, ProtocolChoice
from ..plan.reference import run as run_reference, wrap
from ..plan.schema import Traffic
from ..processor import processor_name
from ..progress import Progress, no_progress
from ..version import __version__
from .link_emulator import LinkEmulator
from .parties import (
    PLAN_FILE,
    WEIGHTS_FILE,
    ClientReport,
    ClientStart,
    Party,
    ServerReport,
    ServerStart,
    run_client,
    run_server,
)
from .roofline import Rates, linear_floor_s, measure_rates, relu_floor


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """``protocol`` "auto" is what the model prefers on the link, in all or online (``prefer``). ``network``: as
    `parse_link` reads it. ``threads``: of each party. ``seed``: of the images.
    """

    protocol: ProtocolChoice = DEFAULT
    inferences: int = 3
    network: str = "none"
    threads: int = 1
    batch: int = 1
    mode: Mode = "prepared"
    tls: bool = False
    seed: int = 0
    timeout_s: float = 600.0
    prefer: Prefer = "total"

    def settled(self, plan: Plan) -> tuple[Plan, Protocol]:
        """Return the plan laid out for the network, and the protocol."""
        link = parse_link(self.network)
        plan = for_link(plan, link)
        if self.protocol != "auto":
            return plan, self.protocol
        return plan, choose_protocol(plan, link, self.prefer, self.batch).protocol


def bench(
    folder: Path,
    options: BenchOptions | None = None,
    on_progress: Progress | None = None,
    rates: Rates | None = None,
) -> dict[str, Any]:
    """Runs the plan of ``folder`` (plan.json, weights.safetensors) and returns what run.json holds.

    ``rates``: this machine's, for a plan of the same ring; measured (a second or two) if they are not given.

    Seconds of phases are the client's; of ops the server's, in whose time they follow each other (an interactive op
    lasts there until the client's answer has come). Medians over the inferences. Raises `DeepReduceError`.
    """
    options, progress = options or BenchOptions(), on_progress or no_progress
    check_options(options)
    link = parse_link(options.network)
    exported = read_plan(folder / PLAN_FILE)
    weights = read_weights(folder / WEIGHTS_FILE, exported)
    plan, protocol = options.settled(exported)
    prediction = predict(plan, protocol, options.batch)
    kept = ServerSettings().weight_bytes
    expected = op_seconds(plan, protocol, options.batch, link=link, prediction=prediction, weight_bytes=kept)
    whole = sum(expected.values(), Seconds())
    if rates is None:
        progress("measure the floors", 0, 1)
        rates = measure_rates(plan.ring.ring_bits)
    images = sample_images(plan, options)
    client, server = _measure(folder, plan, protocol, kept, options, images, progress)
    progress("check against the reference", 0, 1)
    error, peak = errors(plan, weights, images, client.answers)
    floor = relu_floor(plan, rates, protocol, options.batch, link)
    relu_ops = [op.name for op in plan.ops if isinstance(op, Relu | MaxPool)]
    rescale_ops = [op.name for op in plan.ops if isinstance(op, Rescale)]
    relus = prediction.total.relus
    return {
        "relus": relus,
        "online": _phase([run.online for run in client.runs], prediction.total.online, whole.online),
        "offline": _phase([run.offline for run in client.runs], prediction.total.offline, whole.offline),
        "us_per_relu": 1e6 * _op_seconds(server.runs, relu_ops) / relus if relus else None,
        "floor_us_per_relu": floor.floor_us if relus else None,
        "rescale": {"elements": prediction.total.rescales, "seconds": _op_seconds(server.runs, rescale_ops)},
        "max_error_lsb": error,
        "peak_rss_bytes": {"client": client.peak_rss_bytes, "server": server.peak_rss_bytes},
        "ops": _ops(plan, prediction, expected, client.runs, server.runs),
        "setup": {
            "connection_seconds": client.setup.seconds,
            "model_seconds": server.setup_s,
            "up_bytes": client.setup.sent_bytes,
            "down_bytes": client.setup.received_bytes,
        },
        "floors": _floors(rates, floor, linear_floor_s(plan, rates, options.batch)),
        "output_peak_lsb": peak,
        "spread": {
            name: [min(seconds), max(seconds)]
            for name, seconds in (
                ("online", [run.online.seconds for run in client.runs]),
                ("offline", [run.offline.seconds for run in client.runs]),
            )
        },
        "plan_digest": digest(exported),
        "link_rate": plan.link_rate,
        "weight_bytes": kept,
        "protocol": protocol,
        "network": options.network,
        "link": None if link is None else asdict(link),
        "threads": options.threads,
        "inferences": options.inferences,
        "batch": options.batch,
        "mode": options.mode,
        "tls": options.tls,
        "ring_bits": plan.ring.ring_bits,
        "cpu": {"model": processor_name(), "path": _core.cpu_path()},
        "versions": {"deepreduce": __version__, "python": platform.python_version(), "numpy": np.__version__},
    }


def check_options(options: BenchOptions) -> None:
    """Raises `SettingError` on numbers that cannot be."""
    for name in ("inferences", "threads", "batch"):
        if getattr(options, name) < 1:
            raise SettingError(f"{name} is {getattr(options, name)}, at least 1 is needed")
    parse_link(options.network)


def sample_images(plan: Plan, options: BenchOptions) -> NDArray[np.int64]:
    """Normalized random images as integers [inferences, batch, C, H, W], cut off at three standard deviations."""
    rng = np.random.default_rng(options.seed)
    real = np.clip(rng.standard_normal((options.inferences, options.batch, *plan.input_shape)), -3, 3)
    scaled = np.rint(np.ldexp(real, plan.ring.input_fraction)).astype(np.int64)
    return wrap(scaled, plan.ring.ring_bits)


def errors(
    plan: Plan, weights: Mapping[str, NDArray[Any]], images: NDArray[np.int64], answers: NDArray[np.int64]
) -> tuple[int, int]:
    """Return the largest difference of the answers from the reference, and the largest of its values, in units of the
    last place of the output: those of an accumulator, in which one unit of an activation weighs as much as its weights.
    """
    worst = peak = 0
    for x, answer in zip(images, answers, strict=True):
        expected = run_reference(plan, weights, x)[plan.output]
        worst = max(worst, int(np.abs(wrap(answer - expected, plan.ring.ring_bits)).max()))
        peak = max(peak, int(np.abs(expected).max()))
    return worst, peak


def _measure(
    folder: Path,
    plan: Plan,
    protocol: Protocol,
    weight_bytes: int,
    options: BenchOptions,
    images: NDArray[np.int64],
    progress: Progress,
) -> tuple[ClientReport, ServerReport]:
    link, path = parse_link(options.network), _core.cpu_path()
    with ExitStack() as stack:
        tls = None
        if options.tls:
            tls = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepreduce-")))
            make_certificates(tls, ("localhost", "127.0.0.1"), ())
        progress("prepare the model", 0, 1)
        start = ServerStart(
            folder / PLAN_FILE,
            folder / WEIGHTS_FILE,
            plan.link_rate,
            weight_bytes,
            options.threads,
            options.timeout_s,
            path,
            tls,
        )
        server = stack.enter_context(Party("server", run_server, start))
        port = server.receive(progress)
        if link is not None:
            port = stack.enter_context(LinkEmulator(link, "127.0.0.1", port)).port
        progress("connect", 0, 1)
        client = stack.enter_context(
            Party(
                "client",
                run_client,
                ClientStart(
                    port,
                    protocol,
                    options.threads,
                    options.mode,
                    digest(plan),
                    options.timeout_s,
                    path,
                    tls,
                    images,
                ),
            )
        )
        from_client: ClientReport = client.receive(progress, server)
        server.send(len(from_client.runs))
        from_server: ServerReport = server.receive(progress)
        return from_client, from_server


def _phase(phases: list[Phase], predicted: Traffic, predicted_s: float) -> dict[str, Any]:
    """Medians of a phase; bytes and rounds are the same each time, and the last run's."""
    last = phases[-1]
    return {
        "seconds": statistics.median(phase.seconds for phase in phases),
        "down_bytes": last.received_bytes,
        "up_bytes": last.sent_bytes,
        "rounds": last.rounds,
        "predicted_seconds": predicted_s,
        "predicted_down_bytes": predicted.down_bytes,
        "predicted_up_bytes": predicted.up_bytes,
        "predicted_rounds": predicted.rounds,
    }


def _ops(
    plan: Plan, prediction: Prediction, expected: Mapping[str, Seconds], client: list[Run], server: list[Run]
) -> list[dict[str, Any]]:
    kinds = {INPUT: "Input", **{op.name: type(op).__name__ for op in plan.ops}, OUTPUT: "Output"}
    sizes = shapes(plan)
    ops = []
    for name, kind in kinds.items():
        cost = prediction.ops[name]
        entry: dict[str, Any] = {
            "name": name,
            "op": kind,
            "shape": list(sizes[plan.output if name == OUTPUT else name]),
        }
        entry |= {"relus": cost.relus, "rescales": cost.rescales}
        for phase, traffic in (("offline", cost.offline), ("online", cost.online)):
            measured = getattr(client[-1], phase).ops.get(name, OpPhase())
            times = [getattr(run, phase).ops.get(name, OpPhase()).seconds for run in server]
            entry[phase] = {
                "seconds": statistics.median(times),
                "down_bytes": measured.received_bytes,
                "up_bytes": measured.sent_bytes,
                "predicted_seconds": getattr(expected[name], phase),
                "predicted_down_bytes": traffic.down_bytes,
                "predicted_up_bytes": traffic.up_bytes,
                "predicted_rounds": traffic.rounds,
            }
        ops.append(entry)
    return ops


def _op_seconds(runs: list[Run], names: list[str]) -> float:
    """Return the median over the runs of what the named ops took online."""
    return statistics.median(sum(run.online.ops[name].seconds for name in names) for run in runs)


def _floors(rates: Rates, floor: Any, linear_s: float) -> dict[str, Any]:
    return {
        **asdict(floor),
        "serial_us": floor.serial_us,
        "linear_online_seconds": linear_s,
        "rates_per_second": asdict(rates),
    }
