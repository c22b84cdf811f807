"""``deepreduce search``: from a network and its data to a frontier."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from dataclasses import dataclass
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
    ExecutorOptions,
    GpusOption,
    JobsOption,
    RayAddressOption,
    RetriesOption,
    StoreOption,
    make_executor,
)
from ..options import (
    OWN_NORMALIZATION,
    JsonOption,
    MeanOption,
    ModelArgument,
    NormalizeOption,
    StageOption,
    StdOption,
    WidthOption,
    parse_normalization,
    parse_pairs,
    parse_size,
)
from ..output.console import result_console
from ..output.search_results import show_budgets, show_data

if TYPE_CHECKING:
    from ...search import ComputeBudget, Frontier
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


DATA, TRAINING, METHOD, PADDING = "Data", "Training", "Method", "Padding"  # panels of --help
BUDGETS = "Budgets and targets"

DataOption = Annotated[
    str,
    typer.Option(
        help="digits, cifar10, cifar100, tinyimagenet (files in $DEEPREDUCE_DATA) or folder:PATH.", rich_help_panel=DATA
    ),
]
OutOption = Annotated[
    Path, typer.Option(metavar="DIR", help="The search's folder; run the same command again to go on.")
]
RecipeOption = Annotated[
    str | None,
    typer.Option(help="paper, strong or quick.", show_default="quick for digits, else paper", rich_help_panel=TRAINING),
]
EpochsOption = Annotated[
    int | None, typer.Option(help="Epochs of every training.", show_default="the recipe's", rich_help_panel=TRAINING)
]
BatchSizeOption = Annotated[
    int | None, typer.Option(help="Images per batch.", show_default="the recipe's", rich_help_panel=TRAINING)
]
LearningRateOption = Annotated[
    float | None,
    typer.Option("--lr", help="Peak learning rate.", show_default="the recipe's", rich_help_panel=TRAINING),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Any setting of the recipe, for every training, repeatable: {SETTINGS}.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
TeacherRecipeOption = Annotated[
    str | None,
    typer.Option(
        help="The teacher's recipe.", show_default="strong-teacher for strong, else --recipe", rich_help_panel=TRAINING
    ),
]
TeacherSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher-set",
        metavar="NAME=VALUE",
        help="As --set, for the teacher alone.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
SeedOption = Annotated[
    int, typer.Option(help="Of weights, augmentation and the validation split.", rich_help_panel=TRAINING)
]
AlphaOption = Annotated[float, typer.Option(help="Channel scale of the reshaped candidates.", rich_help_panel=METHOD)]
RhoOption = Annotated[float, typer.Option(help="Resolution scale of the reshaped candidates.", rich_help_panel=METHOD)]
ExponentOption = Annotated[
    float, typer.Option("-w", "--exponent", help="The criticality's exponent w (Eq. 1).", rich_help_panel=METHOD)
]
FrontPaddingOption = Annotated[
    bool,
    typer.Option(
        help="Pad each linear segment at its front, so that it merges exactly when exported; or, as the paper "
        "trains, each layer for itself.",
        rich_help_panel=PADDING,
    ),
]
ComputeBudgetOption = Annotated[
    str,
    typer.Option(
        help="full: every network by the whole recipe; quarter: within a quarter of that work.", rich_help_panel=METHOD
    ),
]
ValidationOption = Annotated[
    float, typer.Option(help="Share of the training images held out to select by.", rich_help_panel=DATA)
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="HxW",
        help="Resize the images of folder:PATH; average those of the other sets down, as 16x16 for CIFAR.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
BudgetsOption = Annotated[
    str | None,
    typer.Option(
        metavar="RELUS,...",
        help="Remove single ReLUs until exactly so many are left, as 100k,12.5k,7000: from the whole network "
        "(fine) and from one that the search found (coarse then fine).",
        show_default=False,
        rich_help_panel=BUDGETS,
    ),
]
ElementsMethodOption = Annotated[
    str | None,
    typer.Option(
        help="What is removed: taylor1, taylor2 or gates (learned).", show_default="taylor2", rich_help_panel=BUDGETS
    ),
]
ElementsSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--elements-set",
        metavar="NAME=VALUE",
        help=f"How single ReLUs are removed, repeatable: {ELEMENTS}.",
        show_default=False,
        rich_help_panel=BUDGETS,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The full network's trained weights, a state dict (.safetensors, .pt): it is not trained again.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--private/--no-private",
        help="Make sure before any training that the networks can be exported; or train whatever can be made.",
        rich_help_panel=METHOD,
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="BOUND",
        help="Pick the best network under a budget, and measure it: relus<50k, online<100ms@lan, offline<2s, "
        "total<3s@wan, traffic<50MB. Repeatable: all must hold.",
        show_default=False,
        rich_help_panel=BUDGETS,
    ),
]


@dataclass(frozen=True)
class SearchOptions(ExecutorOptions):
    """The options of ``deepreduce search`` as they were typed."""

    model: ModelArgument
    data: DataOption
    weights: WeightsOption
    mean: MeanOption
    std: StdOption
    normalize: NormalizeOption
    out: OutOption
    recipe: RecipeOption
    epochs: EpochsOption
    batch_size: BatchSizeOption
    learning_rate: LearningRateOption
    settings: SettingsOption
    teacher_recipe: TeacherRecipeOption
    teacher_settings: TeacherSettingsOption
    width: WidthOption
    seed: SeedOption
    alpha: AlphaOption
    rho: RhoOption
    exponent: ExponentOption
    front_padding: FrontPaddingOption
    compute_budget: ComputeBudgetOption
    validation: ValidationOption
    image_size: ImageSizeOption
    stage: StageOption
    budgets: BudgetsOption
    elements_method: ElementsMethodOption
    elements_settings: ElementsSettingsOption
    private: PrivateOption
    target: TargetOption
    as_json: JsonOption


def search_command(
    model: ModelArgument,
    data: DataOption = "digits",
    weights: WeightsOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    normalize: NormalizeOption = None,
    out: OutOption = Path("frontier"),
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    settings: SettingsOption = None,
    teacher_recipe: TeacherRecipeOption = None,
    teacher_settings: TeacherSettingsOption = None,
    jobs: JobsOption = None,
    device: DeviceOption = "auto",
    executor: ExecutorOption = "processes",
    ray_address: RayAddressOption = None,
    store: StoreOption = None,
    cpus_per_job: CpusOption = None,
    gpus_per_job: GpusOption = None,
    retries: RetriesOption = None,
    width: WidthOption = 1.0,
    seed: SeedOption = 0,
    alpha: AlphaOption = 0.5,
    rho: RhoOption = 0.5,
    exponent: ExponentOption = 0.07,
    front_padding: FrontPaddingOption = True,
    compute_budget: ComputeBudgetOption = "full",
    validation: ValidationOption = 0.1,
    image_size: ImageSizeOption = None,
    stage: StageOption = None,
    budgets: BudgetsOption = None,
    elements_method: ElementsMethodOption = None,
    elements_settings: ElementsSettingsOption = None,
    private: PrivateOption = True,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the ReLU-reduced networks of MODEL that the method proposes and keep their Pareto frontier.

    Teacher, 2 x D profiling runs, criticality, 5 x (D - 1) candidates for D stages; with --compute-budget quarter by
    short trainings that start from trained weights, of which the best third goes on. Every training is a job in
    DIR/jobs: finished ones are never repeated, an unfinished one goes on from its last epoch. With --budgets two more
    trainings for each number of ReLUs; a finished search can be given some later. With --target the network
    of best validation accuracy whose predicted costs fit is exported and measured in private at the end, at once where
    the search is finished. Exit code 3 if jobs failed, 5 if no network meets the targets.
    """
    _search(SearchOptions(**locals()))


def _search(options: SearchOptions) -> None:
    normalization = parse_normalization(options.mean, options.std, options.normalize)
    size, stages = parse_size(options.image_size), parse_pairs(options.stage, "--stage")
    changes: dict[str, object] = dict(parse_pairs(options.settings, "--set"))
    given = {"epochs": options.epochs, "batch_size": options.batch_size, "learning_rate": options.learning_rate}
    changes |= {name: value for name, value in given.items() if value is not None}
    elements_changes = parse_pairs(options.elements_settings, "--elements-set")
    if (options.elements_method or elements_changes) and options.budgets is None:
        raise SettingError("single ReLUs are removed to meet budgets, and there are none", "add --budgets 50k,25k")
    from ...data import load
    from ...reduce.elements import make_linearize
    from ...search import Frontier, find_frontier, parse_budgets, parse_target
    from ..output.search_progress import watch

    console = result_console(stderr=options.as_json)
    elements, sizes = (
        make_linearize(options.elements_method, elements_changes),
        parse_budgets(options.budgets) if options.budgets else (),
    )
    targets = [parse_target(text) for text in options.target or ()]
    recipe = options.recipe or ("quick" if options.data == "digits" else "paper")
    chosen, teacher = _recipes(
        recipe, changes, options.teacher_recipe, parse_pairs(options.teacher_settings, "--teacher-set")
    )
    dataset = load(options.data, seed=options.seed, validation=options.validation, image_size=size)
    if normalization is not None:
        dataset = dataset.normalized(*normalization)
    elif options.weights is not None:
        typer.echo(OWN_NORMALIZATION, err=True)
    show_data(console, dataset)
    runs_on = make_executor(options, options.out / "store")
    with closing(runs_on), watch(console) as observer:
        frontier = find_frontier(
            options.model,
            dataset,
            out=options.out,
            width=options.width,
            stages=stages or None,
            recipe=chosen,
            teacher_recipe=teacher,
            seed=options.seed,
            alpha=options.alpha,
            rho=options.rho,
            exponent=options.exponent,
            budgets=sizes,
            elements=elements,
            weights=options.weights,
            device=options.device,
            private=options.private,
            front_padding=options.front_padding,
            compute_budget=cast("ComputeBudget", options.compute_budget),
            executor=runs_on,
            observer=observer,
            command=shlex.join(["deepreduce", *sys.argv[1:]]),
        )
    if not options.as_json:
        _show(console, frontier, options.out)
    unmet = False
    if targets:
        from ..output.search_results import pick_target

        unmet = pick_target(console, options.out, targets, dataset).network is None
        frontier = Frontier.load(options.out)
    if options.as_json:
        typer.echo(json.dumps({"directory": str(options.out), **frontier.content}, indent=1))
    if frontier.content["failed"]:
        raise typer.Exit(3)
    if unmet:
        raise typer.Exit(NOTHING_FITS)


def _recipes(
    name: str, changes: dict[str, object], teacher_name: str | None, teacher_changes: dict[str, str]
) -> tuple[Recipe, Recipe]:
    """Return the students' recipe and the teacher's: what is changed for all is changed for the teacher, too."""
    from ...train import OF_STUDENTS, make_recipe, teacher_recipe_of

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
    for network in frontier.with_teacher:
        table.add_row(
            escape(network.name) + frontier.remark(network),
            f"{network.relus:,}",
            f"{network.validation_accuracy:.2f}",
            "-" if network.test_accuracy is None else f"{network.test_accuracy:.2f}",
            f"{network.params:,}",
            f"{network.macs:,}",
        )
    console.print(table)
    show_budgets(console, frontier)
    spent = frontier.content["effort"]
    if spent["name"] != "full":
        console.print(f"compute: {100 * spent['spent_share']:.1f} % of the full search's training", highlight=False)
    for failure in frontier.content["failed"]:
        console.print(f"[red]failed:[/] {escape(failure['name'])}: {escape(failure['error'])}", soft_wrap=True)
    console.print(f"charts: deepreduce report {escape(shlex.quote(str(out)))}", highlight=False, soft_wrap=True)
