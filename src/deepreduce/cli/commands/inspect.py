"""``deepreduce inspect``: what a network costs, per layer and per stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...errors import ModelError, PlanError, SettingError
from ...units import show_bytes, show_seconds
from ..options import JsonOption, ModelArgument, StageOption, WidthOption, parse_pairs, parse_shape
from ..output.console import result_console
from ..output.progress_bar import progress_bar

if TYPE_CHECKING:
    from ...networks import Network, Profile
    from ...plan.cost import RunCost

DEFAULT_LINKS = ["none", "lan", "wan"]


def inspect_command(
    model: ModelArgument,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Size of one image.", show_default="3x32x32")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes (built-in networks: 100).", show_default=False)
    ] = None,
    width: WidthOption = 1.0,
    point: Annotated[
        str, typer.Option(help="A reduced network: 'S2^RT+S3^RT, alpha=0.5, rho=0.5', 'S2*', 'none' ...")
    ] = "full",
    stage: StageOption = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="lan|wan|RATE,RTT",
            help="Predict a private prediction's seconds and bytes over this link. Repeatable.",
            show_default="none (loopback), lan, wan",
        ),
    ] = None,
    costs: Annotated[
        bool, typer.Option("--costs/--no-costs", help="Predict what a private prediction costs, or only count.")
    ] = True,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the three distributions (SVG or PNG).", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count ReLUs, parameters and multiply-accumulates of MODEL, and predict what a private prediction costs.

    Counts are per layer and per stage, for one image. Costs are those of a plan with random weights, before anything is
    trained; a network that cannot run in private is counted, and what stands against it is named.
    """
    given = None if input_shape is None else parse_shape(input_shape)
    stages = parse_pairs(stage, "--stage")
    if link and not costs:
        raise SettingError("--link is of predicted costs, and --no-costs says that there are none", "give one of them")
    from ...networks import ModelSource, count
    from ...reduce import reduce_to
    from ...reduce.elements import require_chosen

    source = ModelSource(model, width, stages or None)
    shape = given or source.input_shape() or (3, 32, 32)
    full = source.build(shape, classes)
    network = require_chosen(reduce_to(full, point))
    profile = count(network)
    content: dict[str, Any] = {"model": model, "point": str(network.point), "input": list(shape), **profile.to_json()}
    if figure is not None:
        from ...report import distribution_figure

        distribution_figure(content, figure)
    found, refused = _predicted(Console(stderr=True), network, link) if costs else ([], "")
    if as_json:
        private = {"costs": [cost.to_json() for cost in found], "refused": refused or None}
        typer.echo(json.dumps({**content, "notices": list(profile.notices), "private": private}, indent=1))
        return
    console = result_console()
    _show(console, profile, f"{model}  {network.point}  {'x'.join(map(str, shape))}")
    if found:
        _show_costs(console, found)
    if refused:
        console.print(f"[yellow]cannot run in private:[/] {escape(refused)}", highlight=False, soft_wrap=True)
    if figure is not None:
        console.print(f"figure: {escape(str(figure))}")


def _predicted(console: Console, network: Network, links: list[str] | None) -> tuple[list[RunCost], str]:
    """Return the costs over each link, or the reason why there are none."""
    from ...export import predicted_costs

    try:
        with progress_bar(console) as report:
            return predicted_costs(network, links or DEFAULT_LINKS, progress=report), ""
    except (ModelError, PlanError) as error:
        return [], str(error)


def _show_costs(console: Console, costs: list[RunCost]) -> None:
    table = Table(title="Predicted cost of one private prediction", title_justify="left")
    table.add_column("link")
    for name in ("offline", "online", "rounds"):
        table.add_column(name, justify="right")
    for cost in costs:
        table.add_row(
            "loopback" if cost.link == "none" else escape(cost.link),
            f"{show_seconds(cost.offline_seconds)}, {show_bytes(cost.offline_bytes)}",
            f"{show_seconds(cost.online_seconds)}, {show_bytes(cost.online_bytes)}",
            str(cost.rounds),
        )
    console.print(table)


def _show(console: Console, profile: Profile, title: str) -> None:
    layers = Table(title=escape(title), title_justify="left")
    for name in ("layer", "op", "stage"):
        layers.add_column(name, overflow="fold")
    for name in ("shape", "ReLUs", "params", "MACs"):
        layers.add_column(name, justify="right")
    for layer in profile.layers:
        op = f"{layer.op} (2 ReLUs each)" if layer.op == "relu6" else layer.op
        size = "x".join(map(str, layer.shape))
        cost = layer.cost
        layers.add_row(
            escape(layer.name), op, layer.stage, size, _number(cost.relus), _number(cost.params), _number(cost.macs)
        )
    console.print(layers)
    stages = Table()
    stages.add_column("stage")
    for name in ("ReLUs", "share", "params", "MACs"):
        stages.add_column(name, justify="right")
    total = profile.total
    for stage, cost in [*profile.stages.items(), ("total", total)]:
        if stage == "total":
            stages.add_section()
        share = f"{100 * cost.relus / total.relus:.1f} %" if total.relus else "-"
        stages.add_row(stage, f"{cost.relus:,}", share, f"{cost.params:,}", f"{cost.macs:,}")
    console.print(stages)
    for notice in profile.notices:
        console.print(f"[yellow]note:[/] {escape(notice)}")


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
