"""A measured run as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...units import show_bytes, show_count


def show_run(console: Console, result: dict[str, Any]) -> None:
    """Print the result of `deepreduce.benchmark.run.bench`, with ``model`` and ``point``."""
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
        f"{_error(result)}\n"
        f"set-up: model {setup['model_seconds']:.2f} s, connection {setup['connection_seconds']:.2f} s; peak memory: "
        f"client {show_bytes(memory['client'])}, server {show_bytes(memory['server'])}\n"
        f"{show_count(result['inferences'], 'inference')} of {show_count(batch, 'image')}, "
        f"{show_count(result['threads'], 'thread')} per party, {result['cpu']['model']} ({result['cpu']['path']})",
        highlight=False,
    )


def _error(result: dict[str, Any]) -> str:
    """Return how far the answers are from the reference interpreter's."""
    error = result["max_error_lsb"]
    if not error:
        return "answers: equal to the reference"
    part = error / max(1, result["output_peak_lsb"])
    return f"largest error of an answer: {show_count(error, 'unit')} of the last place, {part:.2%} of the largest value"


def _ops_table(result: dict[str, Any], title: str) -> Table:
    """Return what costs anything; the elements of an op are its ReLUs, or what it rescales."""
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
            seconds = (f"{part[f'{prefix}seconds']:.3f}", "" if prefix else f"{low:.3f} to {high:.3f}")
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
