"""``deepreduce evaluate``: private answers for a folder of pictures, against its labels and the plan in the clear."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ...errors import SettingError
from ..answers import FileAnswer, FileAnswers, answer_files, clear_answers
from ..client_options import (
    BatchOption,
    ClientOptions,
    InsecureOption,
    MaxStoreOption,
    NoStoreOption,
    PinOption,
    PlanNameOption,
    ProtocolOption,
    ResizeOption,
    ServerNameOption,
    StoreOption,
    ThreadsOption,
    TimeoutOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TokenFileOption,
    WaitOption,
)
from ..flags import with_flags
from ..options import JsonOption, PreferOption, StoreKeyOption
from ..output.evaluation import print_evaluation
from ..output.progress_bar import progress_bar
from .predict import SOME_FAILED

if TYPE_CHECKING:
    from ...inference.client import Client
    from ...progress import Progress
    from ..evaluation import LabeledFile

ServerArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where it is served.", show_default=False)]
FolderArgument = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="A folder of pictures for each class, by its name.", show_default=False),
]
ClearOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PLAN",
        help="Compare with the integers of the plan and the weights in this folder, computed in the clear.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Ask for N pictures, spread over all.", show_default="all"),
]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ClientOptions):
    """The options of ``deepreduce evaluate`` as they were typed."""

    server: ServerArgument
    folder: FolderArgument
    clear: ClearOption
    limit: LimitOption
    resize: ResizeOption
    as_json: JsonOption


def evaluate_command(
    server: ServerArgument,
    folder: FolderArgument,
    clear: ClearOption = None,
    limit: LimitOption = None,
    resize: ResizeOption = False,
    store: StoreOption = None,
    store_key: StoreKeyOption = None,
    no_store: NoStoreOption = False,
    max_store_bytes: MaxStoreOption = "4GB",
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    server_name: ServerNameOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    token_file: TokenFileOption = None,
    plan_name: PlanNameOption = "",
    pin: PinOption = None,
    insecure: InsecureOption = False,
    protocol: ProtocolOption = "auto",
    prefer: PreferOption = "total",
    batch: BatchOption = 1,
    threads: ThreadsOption = 1,
    timeout: TimeoutOption = 60.0,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Classify a labeled folder privately: accuracy, agreement with the plan in the clear, confusion, cost an image.

    deepreduce evaluate 127.0.0.1:7000 pictures --clear plan --limit 100
    """
    _evaluate(EvaluateOptions(**locals()))


def _evaluate(options: EvaluateOptions) -> None:
    if options.limit is not None and options.limit < 1:
        raise SettingError(f"--limit is {options.limit}", "give a number from 1 on")
    from ...inference.client import class_names
    from ..evaluation import Evaluation, labeled_files

    started, console = time.perf_counter(), Console(stderr=True)
    with progress_bar(console) as report, options.connected(options.server, report) as client:
        files = labeled_files(options.folder, client.classes, options.limit)
        if options.clear is None and files[0].label is None:
            raise SettingError(
                f"{options.folder} has no class folders and --clear is not given: there is nothing to compare with",
                "put the pictures into a folder for each class, or give --clear PLAN",
            )
        clear = _in_the_clear(options, client, files, report)
        private, notes = _privately(options, client, files, report)
        names, digest, protocol = class_names(client.plan), client.plan_digest, client.protocol
    evaluation = Evaluation(
        names,
        [one.answer for one in private.files],
        [one.label for one in files],
        [one.answer for one in clear.files] if clear is not None else [None] * len(files),
        options.batch,
    )
    about = {"server": options.server, "plan": digest, "protocol": protocol}
    result = {**about, **evaluation.summary(), "notes": [with_flags(note) for note in notes]}
    result["errors"] = [
        {"file": str(one.path), "error": one.error, "hint": one.hint} for one in private.files if one.error
    ]
    result["seconds"] = time.perf_counter() - started
    if options.as_json:
        typer.echo(json.dumps(result))
    else:
        print_evaluation(result, console)
    if result["errors"]:
        raise typer.Exit(SOME_FAILED)


def _privately(
    options: EvaluateOptions, client: Client, files: list[LabeledFile], report: Progress
) -> tuple[FileAnswers, list[str]]:
    """Return the server's answers; what there is of them when the connection cannot be made again."""
    from ...inference.client import classify_each

    notes: list[str] = []
    answers = answer_files(
        [one.path for one in files],
        client.plan,
        lambda inputs: classify_each(client, inputs, wait_s=options.wait, note=notes.append),
        resize=options.resize,
        show=_counting(report, "answers", len(files)),
    )
    if answers.broken is not None and not answers.answered:
        raise answers.broken
    return answers, notes


def _in_the_clear(
    options: EvaluateOptions, client: Client, files: list[LabeledFile], report: Progress
) -> FileAnswers | None:
    """Return what the plan's integers answer. Raises `SettingError` for another plan than the server's."""
    from ...plan import digest
    from ..plan_folders import read_plan_folder

    if options.clear is None:
        return None
    read = read_plan_folder(options.clear)
    plan = read.plan
    if plan.ops != client.plan.ops or plan.ring != client.plan.ring:
        raise SettingError(
            f"the plan in {read.path} is {digest(plan)[:12]}, the server's is {client.plan_digest[:12]}",
            "give the folder that is served",
        )
    return answer_files(
        [one.path for one in files],
        plan,
        lambda inputs: clear_answers(plan, read.weights, inputs),
        resize=options.resize,
        show=_counting(report, "in the clear", len(files)),
    )


def _counting(report: Progress, what: str, total: int) -> Callable[[FileAnswer], None]:
    """Return what moves the progress bar by one for each answer."""
    numbers = count(1)
    return lambda _: report(what, next(numbers), total)
