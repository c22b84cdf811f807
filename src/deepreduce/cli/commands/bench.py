"""``deepreduce bench``: what private inference costs on this machine, predicted and measured."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from ...errors import MissingPackageError, SettingError
from ..options import JsonOption, PreferOption, WidthOption
from ..output.bench_tables import show_run
from ..output.console import result_console
from ..output.progress_bar import progress_bar
from .bench_frontier import bench_frontier, holds_search

NETWORK_DEFAULTS = (
    1.0,
    100,
    32,
    32,
    12,
    True,
)  # width, classes, image, ring and weight bits, merging: a plan has its own


PlanArgument = Annotated[
    str,
    typer.Argument(
        metavar="PLAN|NETWORK|DIR",
        help="A plan's folder (plan.json, weights.safetensors), a network to fill with random weights "
        "(resnet18 ...), or a search's folder: every point of its frontier.",
        show_default=False,
    ),
]
PointOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Reduce the network: 'S2^RT+S3^RT, alpha=0.5' ... Of a search: this point only; repeatable.",
        show_default="full, or the frontier",
    ),
]
ProtocolOption = Annotated[
    Literal["auto", "ot", "delphi"], typer.Option(help="How ReLUs are computed; auto: what takes least on the link.")
]
InferencesOption = Annotated[int, typer.Option(help="How many; times are medians.")]
LinkOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="none|lan|wan|RATE,RTT",
        help="Emulate a link: lan, wan, or 200Mbit,20ms (rate, round-trip time). Repeatable for a search.",
        show_default="none",
    ),
]
ThreadsOption = Annotated[int, typer.Option(help="Threads of each party.")]
BatchOption = Annotated[int, typer.Option(help="Images per inference.")]
ModeOption = Annotated[
    Literal["prepared", "single"], typer.Option(help="Prepare before the image is there, or all in one call.")
]
TlsOption = Annotated[bool, typer.Option("--tls/--no-tls", help="Encrypt the connection.")]
ClassesOption = Annotated[int, typer.Option(help="Number of classes of a built-in network.")]
ImageOption = Annotated[int, typer.Option(help="Side of a built-in network's images.")]
RingBitsOption = Annotated[int, typer.Option(help="Ring of a network's plan.")]
WeightBitsOption = Annotated[int, typer.Option(help="Bits of a network's random weights.")]
MergeOption = Annotated[
    bool, typer.Option("--merge/--no-merge", help="Compose a network's linear ops where that is cheaper.")
]
SeedOption = Annotated[int, typer.Option(help="Of weights and images.")]
OutOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write all measurements (run.json).", show_default=False)
]
AgainOption = Annotated[bool, typer.Option("--again", help="Of a search: measure also what is measured.")]


@dataclass(frozen=True)
class BenchCommandOptions:
    """The options of ``deepreduce bench`` as they were typed."""

    plan: PlanArgument
    point: PointOption
    protocol: ProtocolOption
    prefer: PreferOption
    inferences: InferencesOption
    link: LinkOption
    threads: ThreadsOption
    batch: BatchOption
    mode: ModeOption
    tls: TlsOption
    width: WidthOption
    classes: ClassesOption
    image: ImageOption
    ring_bits: RingBitsOption
    weight_bits: WeightBitsOption
    merge: MergeOption
    seed: SeedOption
    out: OutOption
    again: AgainOption
    as_json: JsonOption


def bench_command(
    plan: PlanArgument,
    point: PointOption = None,
    protocol: ProtocolOption = "ot",
    prefer: PreferOption = "total",
    inferences: InferencesOption = 3,
    link: LinkOption = None,
    threads: ThreadsOption = 1,
    batch: BatchOption = 1,
    mode: ModeOption = "prepared",
    tls: TlsOption = False,
    width: WidthOption = NETWORK_DEFAULTS[0],
    classes: ClassesOption = NETWORK_DEFAULTS[1],
    image: ImageOption = NETWORK_DEFAULTS[2],
    ring_bits: RingBitsOption = NETWORK_DEFAULTS[3],
    weight_bits: WeightBitsOption = NETWORK_DEFAULTS[4],
    merge: MergeOption = NETWORK_DEFAULTS[5],
    seed: SeedOption = 0,
    out: OutOption = None,
    again: AgainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run client and server on this machine and compare time, bytes and rounds with the prediction and the floors.

    Of a search's folder every Pareto point and the full network are exported, measured, and noted in frontier.json;
    what is measured already is kept. Exit code 3 if a point could not be measured.
    """
    _bench(BenchCommandOptions(**locals()))


def _bench(options: BenchCommandOptions) -> None:
    from ...benchmark import BenchOptions, bench

    networks, points = options.link or ["none"], options.point or []
    console = result_console(stderr=options.as_json)
    sizes_given = (
        options.width,
        options.classes,
        options.image,
        options.ring_bits,
        options.weight_bits,
        options.merge,
    ) != NETWORK_DEFAULTS
    measured = BenchOptions(
        options.protocol,
        options.inferences,
        networks[0],
        options.threads,
        options.batch,
        options.mode,
        options.tls,
        options.seed,
        prefer=options.prefer,
    )
    if holds_search(Path(options.plan)):
        if sizes_given or options.out is not None:
            raise SettingError(
                f"{options.plan} is a search: width, classes, image, bits and merging are for networks, --out for one "
                "run",
                "the runs of a search are in its folder, below runs",
            )
        bench_frontier(Path(options.plan), measured, networks, points, options.again, console, options.as_json)
        return
    if options.again or len(networks) > 1 or len(points) > 1:
        raise SettingError(
            f"{options.plan} is not a search's folder: --again and more than one --link or --point need one"
        )
    with ExitStack() as stack:
        report = stack.enter_context(progress_bar(console))
        folder = _plan_folder(options.plan)
        if folder is None:
            report("make the plan", 0, 1)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepreduce-")))
            sizes = {"width": options.width, "classes": options.classes, "image": options.image}
            _write_random(
                folder,
                options.plan,
                points[0] if points else None,
                ring_bits=options.ring_bits,
                weight_bits=options.weight_bits,
                merge=options.merge,
                seed=options.seed,
                **sizes,
            )
        elif points or sizes_given:
            raise SettingError(
                f"{options.plan} is a plan: point, width, classes, image, bits and merging are for networks",
                "name a network instead",
            )
        made = {"point": points[0] if points else None, "merged": None if _plan_folder(options.plan) else options.merge}
        result = {"model": options.plan, **made, **bench(folder, measured, report)}
    if options.out is not None:
        from ...files import write_whole

        write_whole(options.out, (json.dumps(result, indent=1) + "\n").encode())
    if options.as_json:
        typer.echo(json.dumps(result))
        return
    show_run(console, result)
    if options.out is not None:
        console.print(f"wrote {escape(str(options.out))}", highlight=False, soft_wrap=True)


def _plan_folder(text: str) -> Path | None:
    path = Path(text)
    if path.name == "plan.json":
        return path.parent
    return path if path.is_dir() else None


def _write_random(folder: Path, network: str, point: str | None, **settings: Any) -> None:
    from ...plan import write_plan, write_weights

    try:
        from ...export import plan_of
    except ImportError as error:
        raise MissingPackageError(
            f"a plan of {network} is made with torch", "pip install 'deepreduce[search]', or give a plan's folder"
        ) from error
    plan, weights = plan_of(network, point, **settings)
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)
