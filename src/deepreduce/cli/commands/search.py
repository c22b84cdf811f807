"""``deepreduce search``: from a network and its data to a frontier."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...errors import SettingError
from ..executor import (
    CpusOption,
    DeviceOption,
    ExecutorOption,
    GpusOption,
    JobsOption,
    RayAddressOption,
    RetriesOption,
    StoreOption,
    make_executor,
)
from ..options import JsonOption, ModelArgument, StageOption, WidthOption, parse_pairs, parse_size
from ..output.search_results import show_budgets

if TYPE_CHECKING:
    from ...search import Frontier
    from ...search.compute import Effort
    from ...train import Recipe


NOTHING_FITS = 5  # exit code: no network meets the targets
# Spelled out here, so that --help need not load torch; a test compares it with the recipe.
SETTINGS = (
    "optimizer (sgd, adamw), momentum, nesterov, weight_decay, schedule (step, cosine, one-cycle), step_epochs, "
    "step_factor, warmup, label_smoothing, ema_decay, crop_padding, flip, cutout, cutmix, kd_temperature, kd_weight, "
    "kd_weight_on (hard, soft), attention_weight, warm_start, anneal, precision (fp32, bf16), channels_last, compile, "
    "epoch_images"
)
ELEMENTS = "rounds, share (of the training), and for gates penalty, growth, gate_rate, threshold"


def search_command(
    model: ModelArgument,
    data: Annotated[
        str, typer.Option(help="digits, cifar10, cifar100, tinyimagenet (files in $DEEPREDUCE_DATA) or folder:PATH.")
    ] = "digits",
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The search's folder; run the same command again to go on.")
    ] = Path("frontier"),
    recipe: Annotated[
        str | None,
        typer.Option(help="paper, strong or quick.", show_default="quick for digits, else paper"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of every training.", show_default="the recipe's")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per batch.", show_default="the recipe's")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--lr", help="Peak learning rate.", show_default="the recipe's")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help=f"Any setting of the recipe, for every training, repeatable: {SETTINGS}.",
            show_default=False,
        ),
    ] = None,
    teacher_recipe: Annotated[
        str | None,
        typer.Option(help="The teacher's recipe.", show_default="strong-teacher for strong, else --recipe"),
    ] = None,
    teacher_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher-set", metavar="NAME=VALUE", help="As --set, for the teacher alone.", show_default=False
        ),
    ] = None,
    jobs: JobsOption = None,
    device: DeviceOption = "auto",
    executor: ExecutorOption = "processes",
    ray_address: RayAddressOption = None,
    store: StoreOption = None,
    cpus_per_job: CpusOption = None,
    gpus_per_job: GpusOption = None,
    retries: RetriesOption = None,
    width: WidthOption = 1.0,
    seed: Annotated[int, typer.Option(help="Of weights, augmentation and the validation split.")] = 0,
    alpha: Annotated[float, typer.Option(help="Channel scale of the reshaped candidates.")] = 0.5,
    rho: Annotated[float, typer.Option(help="Resolution scale of the reshaped candidates.")] = 0.5,
    exponent: Annotated[float, typer.Option("-w", "--exponent", help="The criticality's exponent w (Eq. 1).")] = 0.07,
    front_padding: Annotated[
        bool,
        typer.Option(
            help="Pad each linear segment at its front, so that it merges exactly when exported; or, as the paper "
            "trains, each layer for itself."
        ),
    ] = True,
    effort: Annotated[
        str, typer.Option(help="full: every network by the whole recipe; quarter: within a quarter of that work.")
    ] = "full",
    validation: Annotated[float, typer.Option(help="Share of the training images held out to select by.")] = 0.1,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Resize the images of folder:PATH; average those of the other sets down, as 16x16 for CIFAR.",
            show_default=False,
        ),
    ] = None,
    stage: StageOption = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="RELUS,...",
            help="Remove single ReLUs until exactly so many are left, as 100k,12.5k,7000: from the whole network "
            "(fine) and from one that the search found (coarse then fine).",
            show_default=False,
        ),
    ] = None,
    elements_method: Annotated[
        str | None,
        typer.Option(help="What is removed: taylor1, taylor2 or gates (learned).", show_default="taylor2"),
    ] = None,
    elements_settings: Annotated[
        list[str] | None,
        typer.Option(
            "--elements-set",
            metavar="NAME=VALUE",
            help=f"How single ReLUs are removed, repeatable: {ELEMENTS}.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUANTITY<VALUE[@NETWORK]",
            help="Pick the best network under a budget, and measure it: relus<50k, online<100ms@lan, offline<2s, "
            "total<3s@wan, traffic<50MB. Repeatable: all must hold.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the ReLU-reduced networks of MODEL that the method proposes and keep their Pareto frontier.

    Teacher, 2 x D profiling runs, criticality, 5 x (D - 1) candidates for D stages; with --effort quarter by short
    trainings that start from trained weights, of which the best third goes on. Every training is a job in DIR/jobs:
    finished ones are never repeated, an unfinished one goes on from its last epoch. With --budgets two more
    trainings for each number of ReLUs; a finished search can be given some later. With --target the network
    of best validation accuracy whose predicted costs fit is exported and measured in private at the end, at once where
    the search is finished. Exit code 3 if jobs failed, 5 if no network meets the targets.
    """
    size, stages = parse_size(image_size), parse_pairs(stage, "--stage")
    changes: dict[str, object] = dict(parse_pairs(settings, "--set"))
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    changes |= {name: value for name, value in given.items() if value is not None}
    elements_changes = parse_pairs(elements_settings, "--elements-set")
    if (elements_method or elements_changes) and budgets is None:
        raise SettingError("single ReLUs are removed to meet budgets, and there are none", "add --budgets 50k,25k")
    from ...data import load
    from ...reduce.elements.settings import make_linearize
    from ...search import Frontier, find_frontier
    from ...search.budgets import parse_budgets
    from ...search.targets import parse_target
    from ..output.search_progress import watch

    console = Console(stderr=as_json)
    elements, sizes = make_linearize(elements_method, elements_changes), parse_budgets(budgets) if budgets else ()
    targets = [parse_target(text) for text in target or ()]
    recipe = recipe or ("quick" if data == "digits" else "paper")
    chosen, teacher = _recipes(recipe, changes, teacher_recipe, parse_pairs(teacher_settings, "--teacher-set"))
    dataset = load(data, seed=seed, validation=validation, image_size=size)
    runs_on = make_executor(
        executor,
        jobs,
        device,
        out / "store",
        ray_address=ray_address,
        store=store,
        cpus_per_job=cpus_per_job,
        gpus_per_job=gpus_per_job,
        retries=retries,
    )
    with closing(runs_on), watch(console) as observer:
        frontier = find_frontier(
            model,
            dataset,
            out=out,
            width=width,
            stages=stages or None,
            recipe=chosen,
            teacher_recipe=teacher,
            seed=seed,
            alpha=alpha,
            rho=rho,
            exponent=exponent,
            budgets=sizes,
            elements=elements,
            front_padding=front_padding,
            effort=cast("Effort", effort),
            executor=runs_on,
            observer=observer,
            command=shlex.join(["deepreduce", *sys.argv[1:]]),
        )
    if not as_json:
        _show(console, frontier, out)
    unmet = False
    if targets:
        from ..output.search_results import pick_target

        unmet = pick_target(console, out, targets, dataset).network is None
        frontier = Frontier.load(out)
    if as_json:
        typer.echo(json.dumps({"directory": str(out), **frontier.content}, indent=1))
    if frontier.content["failed"]:
        raise typer.Exit(3)
    if unmet:
        raise typer.Exit(NOTHING_FITS)


def _recipes(
    name: str, changes: dict[str, object], teacher_name: str | None, teacher_changes: dict[str, str]
) -> tuple[Recipe, Recipe]:
    """The students' recipe and the teacher's: what is changed for all is changed for the teacher, too."""
    from ...train import make_recipe, teacher_recipe_of
    from ...train.recipe import OF_STUDENTS

    chosen = make_recipe(name, **changes)
    shared = {setting: value for setting, value in changes.items() if setting not in OF_STUDENTS}
    base = teacher_name or teacher_recipe_of(chosen).name
    return chosen, make_recipe(base, **{**shared, **teacher_changes})


def _show(console: Console, frontier: Frontier, out: Path) -> None:
    order = " < ".join(row["stage"] for row in frontier.content["criticality"])
    console.print(f"\ncriticality: {order} (culled in this order, the last never)", highlight=False)
    table = Table(title="Pareto frontier", title_justify="left")
    table.add_column("network")
    for name in ("ReLUs", "validation %", "test %", "params", "MACs"):
        table.add_column(name, justify="right")
    remark = {("teacher", False): " (teacher)", ("profile", False): " (without KD)"}
    for network in frontier:
        table.add_row(
            escape(network.name) + remark.get((network.role, network.kd), ""),
            f"{network.relus:,}",
            f"{network.validation_accuracy:.2f}",
            "-" if network.test_accuracy is None else f"{network.test_accuracy:.2f}",
            f"{network.params:,}",
            f"{network.macs:,}",
        )
    console.print(table)
    show_budgets(console, frontier)
    effort = frontier.content["effort"]
    console.print(
        f"hypervolume {frontier.content['hypervolume']['value']:.2f}; effort {effort['name']}: "
        f"{100 * effort['spent_share']:.1f} % of the full search's training",
        highlight=False,
    )
    for failure in frontier.content["failed"]:
        console.print(f"[red]failed:[/] {escape(failure['name'])}: {escape(failure['error'])}", soft_wrap=True)
    console.print(f"pictures: deepreduce report {escape(shlex.quote(str(out)))}", highlight=False, soft_wrap=True)
