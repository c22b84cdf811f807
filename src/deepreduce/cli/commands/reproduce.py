"""``deepreduce reproduce``: the paper's tables and figures, run again."""

from __future__ import annotations

import json
import re
import shlex
import sys
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from ...errors import MissingPackageError, SettingError
from ...units import parse_duration
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
from ..options import JsonOption
from ..output.console import result_console

if TYPE_CHECKING:
    from ...reproduce import RunOutcome


NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="table4, figure1 ... or all.", show_default=False)
]
ListingOption = Annotated[bool, typer.Option("--list", help="Say what can be reproduced.")]
ScaleOption = Annotated[
    str,
    typer.Option(
        help="full (the paper's setting: for accelerators), full-bf16, medium (narrow, at full resolution: a day "
        "on a CPU), small (narrow and brief: hours on a CPU) or small-taught (small with teachers that know more)."
    ),
]
SeedsOption = Annotated[
    str | None, typer.Option(metavar="0-4", help="Seeds: 0-4, or 0,2,7.", show_default="the scale's")
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option(
        metavar="2h", help="Stop training after 90s, 9m, 1h30m; go on with the same command.", show_default="none"
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Jobs with their weights; not for version control.", show_default="reproduction/SCALE"
    ),
]
ResultsOption = Annotated[
    Path, typer.Option(metavar="DIR", help="records.jsonl, and a folder for each table and figure.")
]
NoRunOption = Annotated[bool, typer.Option("--no-run", help="Train nothing: write what is recorded.")]
NoFiguresOption = Annotated[bool, typer.Option("--no-figures", help="Draw nothing: matplotlib is not needed.")]
BestTestOption = Annotated[
    bool,
    typer.Option(
        "--best-test",
        help="Read test accuracies after every epoch: a column to compare with papers that chose epochs so.",
    ),
]
LatencyOption = Annotated[
    bool, typer.Option("--latency", help="Predict the seconds of networks that have none yet (20 s each).")
]


@dataclass(frozen=True)
class ReproduceOptions(ExecutorOptions):
    """The options of ``deepreduce reproduce`` as they were typed."""

    names: NamesArgument
    listing: ListingOption
    scale: ScaleOption
    seeds: SeedsOption
    time_limit: TimeLimitOption
    work: WorkOption
    results: ResultsOption
    no_run: NoRunOption
    no_figures: NoFiguresOption
    best_test: BestTestOption
    latency: LatencyOption
    as_json: JsonOption


def reproduce_command(
    names: NamesArgument = None,
    listing: ListingOption = False,
    scale: ScaleOption = "small",
    seeds: SeedsOption = None,
    jobs: JobsOption = None,
    device: DeviceOption = "auto",
    executor: ExecutorOption = "processes",
    ray_address: RayAddressOption = None,
    store: StoreOption = None,
    cpus_per_job: CpusOption = None,
    gpus_per_job: GpusOption = None,
    retries: RetriesOption = None,
    time_limit: TimeLimitOption = None,
    work: WorkOption = None,
    results: ResultsOption = Path("results"),
    no_run: NoRunOption = False,
    no_figures: NoFiguresOption = False,
    best_test: BestTestOption = False,
    latency: LatencyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run what is missing of the paper's tables and figures, and write our numbers beside the paper's.

    Every training is a job in --work and, when it is done, a line in records.jsonl: what is recorded is never run
    again. All trainings of the first seed come first, then those of the next, so that a run that is stopped leaves
    whole seeds. Exit code 3 if trainings failed.
    """
    _reproduce(ReproduceOptions(**locals()))


def _reproduce(options: ReproduceOptions) -> None:
    from ...reproduce import Place, choose_studies, find_scale, write_results
    from ...reproduce.tables import STUDIES

    console = result_console(stderr=options.as_json)
    if options.listing:
        _list(console, options.as_json)
        return
    if not options.names:
        raise SettingError("nothing is named", "name tables or figures, or all; --list shows them")
    chosen, studies = find_scale(options.scale), choose_studies(options.names, STUDIES)
    seed_list = chosen.seeds if options.seeds is None else parse_seeds(options.seeds)
    limit = inf if options.time_limit is None else parse_time_limit(options.time_limit)
    place = Place(options.results, options.work or Path("reproduction") / chosen.name)
    if not options.no_figures:
        from ...report.figures import import_matplotlib

        import_matplotlib()  # missing: say so before hours of training
    outcome = None
    if not options.no_run and any(study.trainings for study in studies):
        from ...reproduce import run_studies
        from ..output.search_progress import watch

        runs_on = make_executor(options, place.work / "store")
        with closing(runs_on), watch(console) as observer:
            outcome = run_studies(studies, chosen, seed_list, place, runs_on, observer, limit, options.best_test)
    command = shlex.join(["deepreduce", *sys.argv[1:]])
    try:
        written = write_results(
            studies,
            chosen,
            seed_list,
            place,
            command,
            figures=not options.no_figures,
            latency=options.latency,
            tell=lambda text: console.print(text, highlight=False, markup=False),
        )
    except MissingPackageError as error:
        if outcome is None:
            raise
        # An accelerator may have torch alone: what was trained is recorded, and pages can be written elsewhere.
        text = f"note: no page was written: {error.message} ({error.hint}); --no-run writes them from {place.records}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        written = []
    _report(console, outcome, written, options.as_json)
    if outcome is not None and outcome.failed:
        raise typer.Exit(3)


def parse_seeds(text: str) -> tuple[int, ...]:
    """``0-4,7`` as numbers, each once. Raises `SettingError`."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None:
            raise SettingError(f"seeds {text!r} cannot be read", "write 0-4, or 0,2,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < 1000:
            raise SettingError(f"seeds {part.strip()} are not 1 to 1000 seeds, ascending", "write 0-4")
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def parse_time_limit(text: str) -> float:
    """``1h30m``, ``9m``, ``90s`` in seconds. Raises `SettingError`."""
    try:
        return parse_duration(text)
    except ValueError:
        raise SettingError(f"time limit {text!r} cannot be read", "write 2h, 9m, 90s or 1h30m") from None


def _list(console: Console, as_json: bool) -> None:
    from ...reproduce import SCALES
    from ...reproduce.tables import STUDIES

    if as_json:
        scales = {scale.name: scale.description for scale in SCALES.values()}
        content = [{"name": s.name, "title": s.title, "trainings": len(s.trainings)} for s in STUDIES.values()]
        typer.echo(json.dumps({"scales": scales, "studies": content}, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_column("trainings", justify="right")
    table.add_column("what")
    for study in STUDIES.values():
        table.add_row(study.name, str(len(study.trainings)), escape(study.title))
    console.print(table)
    for scale in SCALES.values():
        console.print(
            f"--scale {scale.name}: {scale.description}; seeds {', '.join(map(str, scale.seeds))}", highlight=False
        )


def _report(console: Console, outcome: RunOutcome | None, written: list[Path], as_json: bool) -> None:
    failed = {} if outcome is None else outcome.failed
    stopped = outcome is not None and outcome.stopped
    if as_json:
        content = {"written": [str(path) for path in written], "failed": failed, "stopped": stopped}
        typer.echo(json.dumps(content, indent=1))
        return
    for name, reason in failed.items():
        console.print(f"[red]failed:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
    if stopped:
        console.print("stopped at the time limit; the same command goes on", highlight=False)
    for path in written:
        if path.suffix == ".md":
            console.print(Markdown(path.read_text()))
            console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
