"""The ``deepreduce`` command: its verbs, and errors as one line with a hint."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import DeepReduceError, one_line
from ..version import __version__
from .commands.access import audit_app, certificates_command, token_command, usage_command
from .commands.bench import bench_command
from .commands.doctor import doctor_command
from .commands.evaluate import evaluate_command
from .commands.export import export_command
from .commands.inspect import inspect_command
from .commands.plans import plans_command
from .commands.predict import predict_command
from .commands.report import report_command
from .commands.reproduce import reproduce_command
from .commands.search import search_command
from .commands.serve import serve_command
from .commands.store import store_app
from .flags import learn_options, with_flags
from .signals import end_politely, ending_signal

#: Verbs that go on where an interrupted run was.
RESUMABLE = {"search", "reproduce", "bench"}

#: verb -> former name of an option -> its present name. Former names work for one release.
RENAMED_OPTIONS = {"bench": {"--network": "--link"}, "search": {"--effort": "--compute-budget"}}

app = typer.Typer(
    name="deepreduce",
    help="Find out which ReLUs of a network contribute to its accuracy, train networks without the others, and run "
    "them privately between a client and a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _add(name: str, command: Callable[..., None]) -> None:
    """Add a verb whose help is the docstring of ``command`` in paragraphs, which fill the terminal's width."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    app.command(name, help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(command)


_add("inspect", inspect_command)
_add("search", search_command)
_add("report", report_command)
_add("reproduce", reproduce_command)
_add("export", export_command)
_add("bench", bench_command)
_add("serve", serve_command)
_add("predict", predict_command)
_add("evaluate", evaluate_command)
app.add_typer(store_app, name="store")
_add("plans", plans_command)
_add("certificates", certificates_command)
_add("token", token_command)
_add("usage", usage_command)
app.add_typer(audit_app, name="audit")
_add("doctor", doctor_command)
learn_options(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepreduce {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


def run() -> NoReturn:
    """Run the command line; every error ends as one line, a hint and an exit code that is not 0."""
    arguments = _renamed(sys.argv[1:])
    debug = "--debug" in arguments
    end_politely()
    try:
        app(args=[a for a in arguments if a != "--debug"], prog_name="deepreduce")
    except BaseException as error:
        _end(error, debug)
    sys.exit(0)


def _end(error: BaseException, debug: bool) -> NoReturn:
    """End the command with the line, the hint and the exit code that ``error`` calls for."""
    if (number := ending_signal()) is not None:  # whatever the interrupt has become on its way here
        resumes = any(word in RESUMABLE for word in sys.argv[1:3])
        hint = "run the same command again: it goes on where it was" if resumes else ""
        _fail("interrupted", hint, 128 + number, debug)
    if isinstance(error, DeepReduceError):
        _fail(with_flags(error.message), with_flags(error.hint), error.exit_code, debug)
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        sys.exit(141)
    if isinstance(error, Exception):
        text = f"unexpected {type(error).__name__}: {one_line(error)}"
        _fail(text, "--debug shows where; please report it", 70, debug)
    raise error


def _renamed(arguments: list[str]) -> list[str]:
    """Return the arguments with the present names of options that had another one, and warn of each."""
    renamed = RENAMED_OPTIONS.get(arguments[0], {}) if arguments else {}
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in renamed:
            Console(stderr=True, soft_wrap=True).print(
                f"[yellow]warning:[/] {name} is called {renamed[name]} now", highlight=False
            )
        found.append(renamed.get(name, name) + equals + value)
    return found


def _fail(message: str, hint: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    if hint:
        console.print(f"[bold]hint:[/] {escape(hint)}", highlight=False)
    sys.exit(code)
