"""``deepreduce bench``: what private inference costs on this machine, predicted and measured."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..errors import MissingPackageError, SettingError
from .options import JsonOption, WidthOption

NETWORK_DEFAULTS = (1.0, 100, 32, 32, 12)  # width, classes, image, ring and weight bits: a plan has its own


def bench_command(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|NETWORK",
            help="A folder (plan.json, weights.safetensors) or a network to fill with random weights (resnet18 ...).",
            show_default=False,
        ),
    ],
    point: Annotated[
        str | None, typer.Option(help="Reduce the network: 'S2^RT+S3^RT, alpha=0.5' ...", show_default="full")
    ] = None,
    protocol: Annotated[Literal["fused", "delphi"], typer.Option(help="How ReLUs are computed.")] = "fused",
    inferences: Annotated[int, typer.Option(help="How many; times are medians.")] = 3,
    network: Annotated[
        str, typer.Option(metavar="none|lan|wan|RATE,RTT", help="Shape the connection: lan, or 200Mbit,20ms ...")
    ] = "none",
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
    seed: Annotated[int, typer.Option(help="Of weights and images.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all measurements (run.json).", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run client and server on this machine and compare time, bytes and rounds with the prediction and the floors."""
    from ..private.bench import BenchOptions, bench

    options = BenchOptions(protocol, inferences, network, threads, batch, mode, tls, seed)
    console = Console(stderr=as_json)
    with ExitStack() as stack:
        report = stack.enter_context(_progress(console))
        folder = _plan_folder(plan)
        if folder is None:
            report("make the plan", 0, 1)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepreduce-")))
            sizes = {"width": width, "classes": classes, "image": image}
            _write_random(folder, plan, point, ring_bits=ring_bits, weight_bits=weight_bits, seed=seed, **sizes)
        elif (point, width, classes, image, ring_bits, weight_bits) != (None, *NETWORK_DEFAULTS):
            raise SettingError(
                f"{plan} is a plan: point, width, classes, image, ring and weight bits are for networks",
                "name a network instead",
            )
        result = {"model": plan, "point": point, **bench(folder, options, report)}
    if out is not None:
        from ..files import write_whole

        write_whole(out, (json.dumps(result, indent=1) + "\n").encode())
    if as_json:
        typer.echo(json.dumps(result))
        return
    _show(console, result)
    if out is not None:
        console.print(f"wrote {escape(str(out))}", highlight=False, soft_wrap=True)


def _plan_folder(text: str) -> Path | None:
    path = Path(text)
    if path.name == "plan.json":
        return path.parent
    return path if path.is_dir() else None


def _write_random(folder: Path, network: str, point: str | None, **settings: Any) -> None:
    from ..plan import write_plan, write_weights

    try:
        from ..export import plan_of
    except ImportError as error:
        raise MissingPackageError(
            f"a plan of {network} is made with torch", "pip install 'deepreduce[search]', or give a plan's folder"
        ) from error
    plan, weights = plan_of(network, point, **settings)
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, refresh_per_second=4, disable=hidden) as bars:
        task = bars.add_task("")
        shown = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                bars.reset(task)
                shown = what
            bars.update(task, description=what, completed=done, total=total)

        yield report


def _show(console: Console, result: dict[str, Any]) -> None:
    """Tables for people."""
    point, batch = result["point"], result["batch"]
    title = f"{result['model']}{f'  {point}' if point else ''}  {result['protocol']}, network {result['network']}"
    console.print(_ops_table(result, title))
    console.print(_totals_table(result))
    differences = list(_differences(result))
    for line in differences:
        console.print(f"[red]differs from the prediction:[/] {escape(line)}", highlight=False)
    if not differences:
        console.print("bytes and rounds of every op are the predicted ones", highlight=False)
    floors, us = result["floors"], result["us_per_relu"]
    if us is not None:
        floor = result["floor_us_per_relu"]
        console.print(
            f"ReLUs online: {us:.3f} us each, {us / floor:.1f} times the floor of {floor:.3f} us, the slowest of AES "
            f"{floors['aes_us']:.3f}, memory {floors['memory_us']:.3f} and transfer {floors['transfer_us']:.3f}",
            highlight=False,
        )
    rescale = result["rescale"]
    if rescale["elements"]:
        each = 1e6 * rescale["seconds"] / rescale["elements"]
        console.print(f"rescaled online: {rescale['elements']:,} elements, {each:.3f} us each", highlight=False)
    memory, setup = result["peak_rss_bytes"], result["setup"]
    console.print(
        f"largest error of an answer {result['max_error_lsb']:,} units of the last place, "
        f"{result['max_error_lsb'] / max(1, result['output_peak_lsb']):.2%} of the largest value\n"
        f"set-up: model {setup['model_seconds']:.2f} s, connection {setup['connection_seconds']:.2f} s; peak memory: "
        f"client {_size(memory['client'])}, server {_size(memory['server'])}\n"
        f"{result['inferences']} inference(s) of {batch} image(s), {result['threads']} "
        f"thread(s) per party, {result['cpu']['model']} ({result['cpu']['path']})",
        highlight=False,
    )


def _ops_table(result: dict[str, Any], title: str) -> Table:
    """What costs anything; the elements of an op are its ReLUs, or what it rescales."""
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("op", overflow="fold", min_width=11)
    table.add_column("kind", no_wrap=True)
    for name in ("elements", "offline\nms", "MB\ndown", "\nup", "online\nms", "MB\ndown", "\nup", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    for op in result["ops"]:
        cells = [f"{op['relus'] or op['rescales']:,}".removeprefix("0")]
        for phase in ("offline", "online"):
            part = op[phase]
            cells += [f"{1e3 * part['seconds']:.1f}", *(_megabytes(part[f"{way}_bytes"]) for way in ("down", "up"))]
        if any(op[phase][key] for phase in ("offline", "online") for key in ("seconds", "down_bytes", "up_bytes")):
            table.add_row(escape(op["name"]), op["op"], *cells, str(op["online"]["predicted_rounds"] or ""))
    return table


def _totals_table(result: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("total", "seconds", "min to max", "MB down", "up", "rounds"):
        table.add_column(name, justify="left" if name == "total" else "right", no_wrap=True)
    for phase in ("offline", "online"):
        part, (low, high) = result[phase], result["spread"][phase]
        for kind, prefix in ((phase, ""), ("  predicted", "predicted_")):
            seconds = ("", "") if prefix else (f"{part['seconds']:.3f}", f"{low:.3f} to {high:.3f}")
            sizes = (_megabytes(part[f"{prefix}{way}_bytes"]) for way in ("down", "up"))
            table.add_row(kind, *seconds, *sizes, str(part[f"{prefix}rounds"]))
    return table


def _differences(result: dict[str, Any]) -> Iterator[str]:
    parts = [(name, phase, result[phase]) for name, phase in (("total", "offline"), ("total", "online"))]
    parts += [(op["name"], phase, op[phase]) for op in result["ops"] for phase in ("offline", "online")]
    for name, phase, part in parts:
        for key in ("down_bytes", "up_bytes", "rounds"):
            if key in part and part[key] != part[f"predicted_{key}"]:
                yield f"{name}: {phase} {key} {part[key]:,}, predicted {part[f'predicted_{key}']:,}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}" if count else ""


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B" if count else ""
