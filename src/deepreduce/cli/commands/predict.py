"""``deepreduce predict``: private predictions by a server that does not see the images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ...errors import DeepReduceError, SessionError, SettingError
from ...units import show_bytes, show_seconds
from ..credentials import client_tls, read_token
from ..options import JsonOption, PreferOption, StoreKeyOption, file_option
from ..output.progress_bar import progress_bar
from ..units import parse_address

if TYPE_CHECKING:
    from ...inference.client import Client

AHEAD = 4  # predictions that are prepared before the next of them is answered
MOST_BROKEN = 3  # connections in turn that break without an answer
MOST_REFUSED = 3  # batches in turn that the server does not have: more of them are not spent in vain
SOME_FAILED = 1  # exit code: some files could not be answered, the others were
TRUST = "Trust and credentials"


ServerArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where it is served.", show_default=False)]
ImagesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="IMAGE...", help="PNG or JPEG; .npy: a network's input.", show_default=False),
]
PrepareOption = Annotated[
    int, typer.Option(help="Leave so many predictions prepared for later; without images: only that.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where they are kept.", show_default="~/.local/share/deepreduce/client"),
]
NoStoreOption = Annotated[bool, typer.Option("--no-store", help="Keep nothing on disk, use nothing from there.")]
TlsOption = Annotated[
    bool,
    typer.Option("--tls", help="Trust the system's authorities, on this machine, too.", rich_help_panel=TRUST),
]
TlsCaOption = Annotated[
    Path | None,
    file_option(
        "Trust this authority (PEM), and no other.",
        TRUST,
        default="the system's; on this machine: the development authority",
    ),
]
ServerNameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whose certificate the server must show.",
        show_default="HOST",
        rich_help_panel=TRUST,
    ),
]
TlsCertOption = Annotated[
    Path | None,
    file_option("This client's certificate (PEM).", TRUST),
]
TlsKeyOption = Annotated[
    Path | None,
    file_option("Its key (PEM).", TRUST),
]
TokenFileOption = Annotated[
    Path | None,
    file_option("The token that the server asks for.", TRUST),
]
PinOption = Annotated[
    str | None,
    typer.Option(metavar="DIGEST", help="Accept this plan only.", show_default=False, rich_help_panel=TRUST),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Plain TCP, for a server that was told the same: for tests only.", rich_help_panel=TRUST
    ),
]
ProtocolOption = Annotated[
    Literal["auto", "ot", "delphi"],
    typer.Option(
        help="How ReLUs are computed: by tables of transfers (ot), by garbled circuits (delphi), or by what is "
        "prepared, else what takes least on the link, which is measured."
    ),
]
BatchOption = Annotated[int, typer.Option(help="Images per prediction.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of this side.")]
TimeoutOption = Annotated[float, typer.Option(metavar="SECONDS", help="How long the server may be silent.")]
WaitOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long to wait for a server that is busy, or restarts.")
]
TopOption = Annotated[int, typer.Option(metavar="K", help="Classes to show.")]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Stretch pictures to the size of the plan.")]
ArrayOption = Annotated[bool, typer.Option("--array", help="All files are arrays (.npy), whatever their names.")]


@dataclass(frozen=True)
class PredictOptions:
    """The options of ``deepreduce predict`` as they were typed."""

    server: ServerArgument
    images: ImagesArgument
    prepare: PrepareOption
    store: StoreOption
    store_key: StoreKeyOption
    no_store: NoStoreOption
    tls: TlsOption
    tls_ca: TlsCaOption
    server_name: ServerNameOption
    tls_cert: TlsCertOption
    tls_key: TlsKeyOption
    token_file: TokenFileOption
    pin: PinOption
    insecure: InsecureOption
    protocol: ProtocolOption
    prefer: PreferOption
    batch: BatchOption
    threads: ThreadsOption
    timeout: TimeoutOption
    wait: WaitOption
    top: TopOption
    resize: ResizeOption
    array: ArrayOption
    as_json: JsonOption


def predict_command(
    server: ServerArgument,
    images: ImagesArgument = None,
    prepare: PrepareOption = 0,
    store: StoreOption = None,
    store_key: StoreKeyOption = None,
    no_store: NoStoreOption = False,
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    server_name: ServerNameOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    token_file: TokenFileOption = None,
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
    """
    _predict_all(PredictOptions(**locals()))


def _check(options: PredictOptions) -> None:
    if options.prepare < 0 or options.top < 1:
        raise SettingError("--prepare is negative or --top below 1", "give whole numbers")
    if not options.images and not options.prepare:
        raise SettingError("no images are given", "name pictures, or --prepare N to prepare for later")
    if options.prepare and options.no_store:
        raise SettingError("with --no-store nothing stays prepared", "leave one of --prepare and --no-store out")
    if not options.wait >= 0:
        raise SettingError("--wait is negative", "give a number of seconds")


def _predict_all(options: PredictOptions) -> None:
    host, port = parse_address(options.server, 1)
    _check(options)
    secured = client_tls(
        host, options.tls, options.tls_ca, options.tls_cert, options.tls_key, options.server_name, options.insecure
    )
    started = time.perf_counter()
    console = Console(stderr=True)
    from ...inference import forbid_core_files
    from ...inference.client import Client, retry_while_busy
    from ...paths import client_store_folder

    forbid_core_files()
    with ExitStack() as stack:
        token = None if options.token_file is None else read_token(options.token_file)
        if options.token_file is not None and options.token_file.stat().st_mode & 0o077:
            typer.echo(f"warning: others on this machine may read {options.token_file}: chmod 600", err=True)
        report = stack.enter_context(progress_bar(console))
        folder = None if options.no_store else options.store or client_store_folder()

        def connect() -> Client:
            return Client(
                host,
                port,
                protocol=options.protocol,
                prefer=options.prefer,
                batch=options.batch,
                threads=options.threads,
                tls=secured.context,
                server_name=secured.server_name,
                insecure=secured.context is None,
                pin=options.pin,
                token=token,
                timeout_s=options.timeout,
                store=folder,
                store_key=options.store_key,
                on_progress=report,
            )

        client = retry_while_busy(connect, options.wait)
        stack.callback(client.close)
        connected = time.perf_counter()
        notes = [] if client.store is None else list(client.store.notices)
        if client.choice is not None:
            notes.append(client.choice.reason)
        if options.prepare and not client.stored:
            raise SettingError("the server keeps nothing: what is prepared ends with the connection", "drop --prepare")
        inputs = [_input(path, client, options.array, options.resize) for path in options.images or []]
        show = _Shown(console) if not options.as_json else None
        broken = _ask(client, inputs, notes, options.top, options.wait, show)
        if broken is not None and not any("classes" in entry for entry in inputs):
            raise broken
        if broken is None and options.prepare > client.prepared:
            try:
                _prepare(client, options.prepare - client.prepared, notes, options.wait)
            except DeepReduceError as error:
                if not inputs:
                    raise
                notes.append(str(error))
        left = client.prepared if client.stored else 0
        result = {
            "server": options.server,
            "plan": client.plan_digest,
            "protocol": client.protocol,
            "link": None if client.choice is None or client.choice.link is None else asdict(client.choice.link),
            "predictions": inputs,
            "prepared": left,
            "connect_seconds": connected - started,
            "seconds": time.perf_counter() - started,
            "notes": notes,
        }
    if show is None:
        typer.echo(json.dumps(result))
    else:
        show.end(result)
    if any("error" in entry for entry in inputs) or left < options.prepare:
        raise typer.Exit(SOME_FAILED)


def _input(path: Path, client: Client, array: bool, resize: bool) -> dict[str, Any]:
    """Return one file: its input, or what is wrong with it, which costs the others nothing."""
    from ...errors import MissingPackageError, PlanError
    from ..images import read_input

    try:
        return {"file": str(path), "x": read_input(path, client.plan, array=array, resize=resize)}
    except (MissingPackageError, PlanError):
        raise
    except DeepReduceError as error:
        return {"file": str(path), "error": error.message, "hint": error.hint}


def _ask(
    client: Client, inputs: list[dict[str, Any]], notes: list[str], top: int, wait: float, show: _Shown | None
) -> DeepReduceError | None:
    """Answer in the order of the inputs, and show each answer when it is there; bad files pass through.

    A connection that breaks is made again. Returns the error after which that was not possible; the inputs that were
    not answered have it.
    """
    import numpy as np

    from ...inference.transport import PeerError, Reason

    good = [entry for entry in inputs if "x" in entry]
    size, first = client.target.batch, 0
    broken: DeepReduceError | None = None
    waiting = iter(inputs)
    for first in range(0, len(good), size):
        entries = good[first : first + size]
        left = -(-(len(good) - first) // size)
        images = np.zeros((size, *client.plan.input_shape))  # what is missing in the last batch stays black
        images[: len(entries)] = [entry.pop("x") for entry in entries]
        try:
            logits = _unbroken(client, partial(_predict, client, images, left, notes, wait), notes, wait)
        except DeepReduceError as error:
            for entry in good[first:]:  # what was answered before is
                entry.pop("x", None)
                entry.update(error=f"{entry['file']}: {error.message}", hint=error.hint)
            broken = None if isinstance(error, PeerError) and error.reason == Reason.QUOTA else error
            break
        online = client.runs[-1].online
        cost = {
            "online_seconds": online.seconds,
            "down_bytes": online.received_bytes,
            "up_bytes": online.sent_bytes,
        }
        for entry, values in zip(entries, logits, strict=False):
            entry.update(_classes(client, values.reshape(-1), top), **cost)
        if show is not None:
            show.answers(waiting, until=entries[-1])
    if show is not None and (broken is None or first):  # else the caller says why, once
        show.answers(waiting)
    return broken


def _unbroken(client: Client, work: Callable[[], Any], notes: list[str], wait: float) -> Any:
    """Return the result of ``work``, begun again on a new connection when the one it has breaks.

    What is in the stores makes that safe: a batch that was named is used up. Raises the error of a connection that
    breaks ``MOST_BROKEN`` times in turn, or cannot be made again within ``wait`` seconds.
    """
    from ...inference.client import retry_while_busy
    from ...inference.transport import BusyError, PeerError, Reason

    for _ in range(MOST_BROKEN):
        try:
            return work()
        except BusyError:
            raise
        except SessionError as error:
            passing = (Reason.STOPPING, Reason.TIMEOUT, Reason.INTERNAL)
            if client.connected or (isinstance(error, PeerError) and error.reason not in passing):
                raise
            notes.append(f"the connection broke ({error.message}) and was made again")
            try:
                retry_while_busy(client.reconnect, wait)
            except SessionError:
                notes.pop()
                raise error from None
    return work()


def _predict(client: Client, images: Any, left: int, notes: list[str], wait: float) -> Any:
    """Return one batch; what the server no longer has is passed over, and what is missing is prepared first.

    A server that refuses what it has just prepared is not asked again.
    """
    from ...inference.transport import PeerError, Reason

    fresh, refused = False, 0
    while True:
        if not client.prepared:
            _prepare(client, min(left, AHEAD, client.most_prepared), notes, wait)
            fresh = True
        before = client.prepared
        try:
            return client.predict(images, more=left > 1 and client.prepared > 1)
        except PeerError as error:
            refused += 1
            if error.reason != Reason.BATCH or not client.stored or not before or fresh or refused == MOST_REFUSED:
                raise
            notes.append("a prepared batch was not the server's any more; it is dropped on both sides")


def _prepare(client: Client, count: int, notes: list[str], wait: float) -> None:
    """So many, or as many as a quota or a busy server leaves, if any is ready then. Raises `BusyError`, `PeerError`."""
    from ...inference.client import retry_while_busy
    from ...inference.transport import BusyError, PeerError, Reason

    goal = client.prepared + count
    try:
        retry_while_busy(lambda: client.prepare(max(0, goal - client.prepared)), wait)
    except BusyError as error:
        if not client.prepared:
            raise
        notes.append(str(error))
    except PeerError as error:
        if error.reason != Reason.QUOTA or not client.prepared:
            raise
        notes.append(str(error))


def _classes(client: Client, logits: Any, top: int) -> dict[str, Any]:
    import numpy as np

    powers = np.exp(logits - logits.max())
    probabilities = powers / powers.sum()
    names = client.plan.pictures.classes if client.plan.pictures is not None else ()
    best = np.argsort(-probabilities, kind="stable")[:top]
    classes = [
        {
            "index": int(i),
            "class": names[i] if i < len(names) else str(i),
            "probability": float(probabilities[i]),
        }
        for i in best
    ]
    return {"classes": classes, "logits": [float(v) for v in logits]}


class _Shown:
    """Answers for people, each when it is there; what is said of them goes to standard error."""

    def __init__(self, errors: Console) -> None:
        # Where both are one terminal, the bar's console knows where the bar is.
        out = Console(soft_wrap=True, highlight=False)
        self._console, self._errors = errors if out.is_terminal and errors.is_terminal else out, errors

    def answers(self, entries: Iterator[dict[str, Any]], until: dict[str, Any] | None = None) -> None:
        """Show the next entries, up to ``until``."""
        for entry in entries:
            if "error" in entry:
                hint = f" ({entry['hint']})" if entry["hint"] else ""
                self._say(f"[bold red]error:[/] {escape(entry['error'] + hint)}")
            else:
                best = ", ".join(f"{escape(one['class'])} {100 * one['probability']:.1f} %" for one in entry["classes"])
                self._console.print(f"{escape(entry['file'])}: {best}", highlight=False, soft_wrap=True)
            if entry is until:
                break

    def end(self, result: dict[str, Any]) -> None:
        """Show what all of them cost."""
        for note in result["notes"]:
            self._say(f"[yellow]note:[/] {escape(note)}")
        entries = result["predictions"]
        answered = [entry for entry in entries if "classes" in entry]
        if not answered:
            return self._say(f"{result['prepared']} prepared")
        seconds = sorted(entry["online_seconds"] for entry in answered)[len(answered) // 2]
        down, up = show_bytes(answered[-1]["down_bytes"]), show_bytes(answered[-1]["up_bytes"])
        self._say(
            f"{len(answered)} of {len(entries)} answered; per image: {show_seconds(seconds)} online, {down} down, "
            f"{up} up; total {show_seconds(result['seconds'])}; {result['prepared']} predictions still prepared"
        )

    def _say(self, text: str) -> None:
        self._errors.print(text, highlight=False, soft_wrap=True)
