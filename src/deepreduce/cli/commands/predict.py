"""``deepreduce predict``: private predictions by a server that does not see the images."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ...errors import DeepReduceError, SettingError
from ..answers import FileAnswers, answer_files, clear_answers
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
from ..output.answers import AnswerLines, shown_answer
from ..output.progress_bar import progress_bar

if TYPE_CHECKING:
    from ...inference.client import Client

SOME_FAILED = 1  # exit code: some files could not be answered, the others were

ServerArgument = Annotated[
    str | None,
    typer.Argument(metavar="HOST:PORT", help="Where it is served; not with --clear.", show_default=False),
]
ImagesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="IMAGE...",
        help="PNG or JPEG; .npy: a network's input; a folder: all of these in it.",
        show_default=False,
    ),
]
ClearOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PLAN",
        help="Compute in the clear, with the plan and the weights in this folder, without a server: the same answers.",
        show_default=False,
    ),
]
PrepareOption = Annotated[
    int, typer.Option(help="Leave so many predictions prepared for later; without images: only that.")
]
TopOption = Annotated[int, typer.Option(metavar="K", help="Classes to show.")]
ArrayOption = Annotated[bool, typer.Option("--array", help="All files are arrays (.npy), whatever their names.")]


@dataclass(frozen=True, kw_only=True)
class PredictOptions(ClientOptions):
    """The options of ``deepreduce predict`` as they were typed."""

    server: ServerArgument
    images: ImagesArgument
    clear: ClearOption
    prepare: PrepareOption
    top: TopOption
    resize: ResizeOption
    array: ArrayOption
    as_json: JsonOption


def predict_command(
    server: ServerArgument = None,
    images: ImagesArgument = None,
    clear: ClearOption = None,
    prepare: PrepareOption = 0,
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
    top: TopOption = 3,
    resize: ResizeOption = False,
    array: ArrayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Classify images with the server at HOST:PORT without revealing them. Exit code 1: some files were not answered.

    TLS 1.3 by default: to 127.0.0.1 and ::1 with the development authority that serve made on this machine, to others
    with the system's authorities.

        deepreduce predict 127.0.0.1:7000 cat.png dog.jpg

        deepreduce predict --clear plan cat.png
    """
    _predict(PredictOptions(**locals()))


def _check(options: PredictOptions) -> None:
    if options.prepare < 0 or options.top < 1:
        raise SettingError("--prepare is negative or --top below 1", "give whole numbers")
    if options.server is None:
        raise SettingError("no server is given", "name HOST:PORT, or --clear PLAN to compute without one")
    if options.clear is not None and options.prepare:
        raise SettingError("--clear with --prepare", "without a server there is nothing to prepare: leave one out")
    if not options.images and not options.prepare and options.clear is None:
        raise SettingError("no images are given", "name pictures, or --prepare N to prepare for later")
    if options.prepare and options.no_store:
        raise SettingError("with --no-store nothing stays prepared", "leave one of --prepare and --no-store out")
    if not options.wait >= 0:
        raise SettingError("--wait is negative", "give a number of seconds")


def _predict(options: PredictOptions) -> None:
    _check(options)
    started, console = time.perf_counter(), Console(stderr=True)
    lines = None if options.as_json else AnswerLines(console, options.top)
    with progress_bar(console) as report:
        if options.clear is not None:
            answers, about = _in_the_clear(options, options.clear, lines)
        else:
            assert options.server is not None
            with options.connected(options.server, report) as client:
                connected = time.perf_counter() - started
                answers, about = _by_the_server(options, client, lines)
                about["connect_seconds"] = connected
        about["seconds"] = time.perf_counter() - started
    entries = [shown_answer(one, options.top) for one in answers.files]
    if lines is None:
        typer.echo(json.dumps({"predictions": entries, **about}))
    else:
        lines.end(answers, about)
    if any(one.error for one in answers.files) or about.get("prepared", 0) < options.prepare:
        raise typer.Exit(SOME_FAILED)


def _in_the_clear(
    options: PredictOptions, folder: Path, lines: AnswerLines | None
) -> tuple[FileAnswers, dict[str, Any]]:
    """Return the answers that the plan's integers give: those of a server, bit for bit."""
    from ...inference.client import image_files
    from ...plan import digest
    from ..plan_folders import read_plan_folder

    read = read_plan_folder(folder)
    plan = read.plan
    paths = image_files([Path(options.server or ""), *(options.images or [])])  # all positional arguments are images
    answers = answer_files(
        paths,
        plan,
        lambda inputs: clear_answers(plan, read.weights, inputs),
        array=options.array,
        resize=options.resize,
        show=None if lines is None else lines.answer,
    )
    return answers, {"server": None, "plan": digest(plan), "notes": []}


def _by_the_server(
    options: PredictOptions, client: Client, lines: AnswerLines | None
) -> tuple[FileAnswers, dict[str, Any]]:
    """Return the answers, and what else is to be said; the error of a connection that gave none is raised."""
    from ...inference.client import classify_each, image_files

    notes = [] if client.store is None else list(client.store.notices)
    if client.choice is not None:
        notes.append(client.choice.reason)
    if options.prepare and not client.stored:
        raise SettingError("the server keeps nothing: what is prepared ends with the connection", "drop --prepare")
    answers = answer_files(
        image_files(options.images or []),
        client.plan,
        lambda inputs: classify_each(client, inputs, wait_s=options.wait, note=notes.append),
        array=options.array,
        resize=options.resize,
        show=None if lines is None else lines.answer,
    )
    if answers.broken is not None and not answers.answered and not _quota(answers.broken):
        raise answers.broken
    if options.prepare > client.prepared and (answers.broken is None or _quota(answers.broken)):
        _prepare(client, options, notes, bool(answers.files))
    about = {
        "server": options.server,
        "plan": client.plan_digest,
        "protocol": client.protocol,
        "link": None if client.choice is None or client.choice.link is None else asdict(client.choice.link),
        "batch": client.target.batch,
        "prepared": client.prepared if client.stored else 0,
        "notes": [with_flags(note) for note in notes],
    }
    return answers, about


def _prepare(client: Client, options: PredictOptions, notes: list[str], others: bool) -> None:
    """Prepare what is to be left. Raises the error if there is nothing else to say."""
    from ...inference.client import prepare_some

    try:
        prepare_some(client, options.prepare - client.prepared, options.wait, notes.append)
    except DeepReduceError as error:
        if not others:
            raise
        notes.append(str(error))


def _quota(error: DeepReduceError) -> bool:
    """Return whether it is the answer of a server that lets this client do no more."""
    from ...inference.transport import PeerError, Reason

    return isinstance(error, PeerError) and error.reason == Reason.QUOTA
