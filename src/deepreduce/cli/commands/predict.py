"""``deepreduce predict``: private predictions by a server that does not see the images."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ...errors import DeepReduceError, SettingError
from ...progress import Progress
from ...units import show_bytes, show_seconds
from ..credentials import client_tls, read_token
from ..options import JsonOption, PreferOption, StoreKeyOption, file_option
from ..output.progress_bar import progress_bar
from ..units import parse_address

if TYPE_CHECKING:
    from ...inference.client import Client

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
WaitOption = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for a busy server.")]
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


def _predict_all(options: PredictOptions) -> None:
    host, port = parse_address(options.server, 1)
    if options.prepare < 0 or options.top < 1:
        raise SettingError("--prepare is negative or --top below 1", "give whole numbers")
    if not options.images and not options.prepare:
        raise SettingError("no images are given", "name pictures, or --prepare N to prepare for later")
    if options.prepare and options.no_store:
        raise SettingError("with --no-store nothing stays prepared", "leave one of --prepare and --no-store out")
    secured = client_tls(
        host, options.tls, options.tls_ca, options.tls_cert, options.tls_key, options.server_name, options.insecure
    )
    if not options.wait >= 0:
        raise SettingError("--wait is negative", "give a number of seconds")
    started = time.perf_counter()
    console = Console(stderr=True)
    from ...inference import forbid_core_files
    from ...inference.client import Client, retry_while_busy
    from ...paths import client_store_folder

    forbid_core_files()
    with ExitStack() as stack:
        token = None if options.token_file is None else read_token(options.token_file)
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
        entries = _ask(client, inputs, report, notes, options.top, options.wait)
        if options.prepare > client.prepared:
            _prepare(client, options.prepare - client.prepared, notes, options.wait)
        left = client.prepared if client.stored else 0
        result = {
            "server": options.server,
            "plan": client.plan_digest,
            "protocol": client.protocol,
            "link": None if client.choice is None or client.choice.link is None else asdict(client.choice.link),
            "predictions": entries,
            "prepared": left,
            "connect_seconds": connected - started,
            "seconds": time.perf_counter() - started,
            "notes": notes,
        }
    if options.as_json:
        typer.echo(json.dumps(result))
    else:
        _show(result, console)
    if any("error" in entry for entry in entries) or left < options.prepare:
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
    client: Client, inputs: list[dict[str, Any]], report: Progress, notes: list[str], top: int, wait: float
) -> list[dict[str, Any]]:
    """Answers in the order of the inputs; bad files pass through."""
    import numpy as np

    from ...inference.transport import PeerError, Reason

    good = [entry for entry in inputs if "x" in entry]
    size = client.target.batch
    for first in range(0, len(good), size):
        entries = good[first : first + size]
        left = -(-(len(good) - first) // size)
        images = np.zeros((size, *client.plan.input_shape))  # what is missing in the last batch stays black
        images[: len(entries)] = [entry.pop("x") for entry in entries]
        try:
            logits = _predict(client, images, left, notes, wait)
        except PeerError as error:
            if error.reason != Reason.QUOTA:
                raise
            for entry in good[first:]:  # what was answered before is
                entry.pop("x", None)
                entry.update(error=f"{entry['file']}: {error.message}", hint=error.hint)
            break
        online = client.runs[-1].online
        cost = {
            "online_seconds": online.seconds,
            "down_bytes": online.received_bytes,
            "up_bytes": online.sent_bytes,
        }
        for entry, values in zip(entries, logits, strict=False):
            entry.update(_classes(client, values.reshape(-1), top), **cost)
    return inputs


def _predict(client: Client, images: Any, left: int, notes: list[str], wait: float) -> Any:
    """Return one batch; what the server no longer has is passed over, and what is missing is prepared first.

    A server that refuses what it has just prepared is not asked again.
    """
    from ...inference.transport import PeerError, Reason

    fresh, refused = False, 0
    while True:
        if not client.prepared:
            _prepare(client, min(left, client.most_prepared), notes, wait)
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


def _show(result: dict[str, Any], errors: Console) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for note in result["notes"]:
        errors.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    answered = [entry for entry in result["predictions"] if "classes" in entry]
    for entry in result["predictions"]:
        if "error" in entry:
            hint = f" ({entry['hint']})" if entry["hint"] else ""
            errors.print(f"[bold red]error:[/] {escape(entry['error'] + hint)}", highlight=False, soft_wrap=True)
            continue
        best = ", ".join(f"{escape(one['class'])} {100 * one['probability']:.1f} %" for one in entry["classes"])
        console.print(f"{escape(entry['file'])}: {best}")
    if answered:
        seconds = sorted(entry["online_seconds"] for entry in answered)[len(answered) // 2]
        last = answered[-1]
        down, up = show_bytes(last["down_bytes"]), show_bytes(last["up_bytes"])
        errors.print(
            f"per image: {show_seconds(seconds)} online, {down} down, {up} up; "
            f"total {show_seconds(result['seconds'])}; {result['prepared']} predictions still prepared",
            highlight=False,
            soft_wrap=True,
        )
    else:
        errors.print(f"{result['prepared']} prepared", highlight=False, soft_wrap=True)
