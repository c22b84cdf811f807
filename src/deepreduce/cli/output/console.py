"""Console of a verb's results: as wide as the terminal, or as wide as what it shows."""

from __future__ import annotations

from rich.console import Console

UNBOUNDED = 10_000  # columns: a table takes what it needs


def result_console(*, stderr: bool = False) -> Console:
    """Return the console for a verb's results.

    In a file or a pipe a table has the width of its content, whatever $COLUMNS says: what is cut there is lost.
    """
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=UNBOUNDED)
