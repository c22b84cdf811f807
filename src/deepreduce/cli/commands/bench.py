"""``deepreduce bench``: what private inference costs on this machine, predicted and measured."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ...errors import MissingPackageError, SettingError
from ..options import JsonOption, WidthOption
from ..output.bench_tables import show_run
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


def bench_command(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|NETWORK|DIR",
            help="A plan's folder (plan.json, weights.safetensors), a network to fill with random weights "
            "(resnet18 ...), or a search's folder: every point of its frontier.",
            show_default=False,
        ),
    ],
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Reduce the network: 'S2^RT+S3^RT, alpha=0.5' ... Of a search: this point only; repeatable.",
            show_default="full, or the frontier",
        ),
    ] = None,
    protocol: Annotated[Literal["fused", "delphi"], typer.Option(help="How ReLUs are computed.")] = "fused",
    inferences: Annotated[int, typer.Option(help="How many; times are medians.")] = 3,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="none|lan|wan|RATE,RTT",
            help="Shape the connection: lan, or 200Mbit,20ms ... Repeatable for a search.",
            show_default="none",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each party.")] = 1,
    batch: Annotated[int, typer.Option(help="Images per inference.")] = 1,
    mode: Annotated[
        Literal["prepared", "single"], typer.Option(help="Prepare before the image is there, or all in one call.")
    ] = "prepared",
    tls: Annotated[bool, typer.Option("--tls/--no-tls", help="Encrypt the connection.")] = False,
    width: WidthOption = NETWORK_DEFAULTS[0],
    classes: Annotated[int, typer.Option(help="Number of classes of a built-in network.")] = NETWORK_DEFAULTS[1],
    image: Annotated[int, typer.Option(help="Side of a built-in network's images.")] = NETWORK_DEFAULTS[2],
    ring_bits: Annotated[int, typer.Option(help="Ring of a network's plan.")] = NETWORK_DEFAULTS[3],
    weight_bits: Annotated[int, typer.Option(help="Bits of a network's random weights.")] = NETWORK_DEFAULTS[4],
    merge: Annotated[
        bool, typer.Option("--merge/--no-merge", help="Compose a network's linear ops where that is cheaper.")
    ] = NETWORK_DEFAULTS[5],
    seed: Annotated[int, typer.Option(help="Of weights and images.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all measurements (run.json).", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Of a search: measure also what is measured.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run client and server on this machine and compare time, bytes and rounds with the prediction and the floors.

    Of a search's folder every Pareto point and the full network are exported, measured, and noted in frontier.json;
    what is measured already is kept. Exit code 3 if a point could not be measured.
    """
    from ...benchmark.run import BenchOptions, bench

    networks, points = network or ["none"], point or []
    console = Console(stderr=as_json)
    sizes_given = (width, classes, image, ring_bits, weight_bits, merge) != NETWORK_DEFAULTS
    options = BenchOptions(protocol, inferences, networks[0], threads, batch, mode, tls, seed)
    if holds_search(Path(plan)):
        if sizes_given or out is not None:
            raise SettingError(
                f"{plan} is a search: width, classes, image, bits and merging are for networks, --out for one run",
                "the runs of a search are in its folder, below runs",
            )
        bench_frontier(Path(plan), options, networks, points, again, console, as_json)
        return
    if again or len(networks) > 1 or len(points) > 1:
        raise SettingError(f"{plan} is no search's folder: --again and more than one --network or --point are for one")
    with ExitStack() as stack:
        report = stack.enter_context(progress_bar(console))
        folder = _plan_folder(plan)
        if folder is None:
            report("make the plan", 0, 1)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepreduce-")))
            sizes = {"width": width, "classes": classes, "image": image}
            _write_random(
                folder,
                plan,
                points[0] if points else None,
                ring_bits=ring_bits,
                weight_bits=weight_bits,
                merge=merge,
                seed=seed,
                **sizes,
            )
        elif points or sizes_given:
            raise SettingError(
                f"{plan} is a plan: point, width, classes, image, bits and merging are for networks",
                "name a network instead",
            )
        made = {"point": points[0] if points else None, "merged": None if _plan_folder(plan) else merge}
        result = {"model": plan, **made, **bench(folder, options, report)}
    if out is not None:
        from ...files import write_whole

        write_whole(out, (json.dumps(result, indent=1) + "\n").encode())
    if as_json:
        typer.echo(json.dumps(result))
        return
    show_run(console, result)
    if out is not None:
        console.print(f"wrote {escape(str(out))}", highlight=False, soft_wrap=True)


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
