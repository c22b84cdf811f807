"""Runs ``deepreduce`` in a process of its own, forked from one that has imported torch already: a tenth of a second."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PRELOADED = ["torch", "deepreduce.cli.main", "deepreduce.networks.source", "deepreduce.search", "deepreduce.export"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def run_deepreduce(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """The command's exit code and output. Raises `TimeoutError`.

    For commands that end by themselves; signals and start-up times are tested with processes started from scratch.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        line = ["deepreduce", *map(str, arguments)]
        about = (line, str(cwd or Path.cwd()), dict(env or os.environ), out, err)
        process = _context.Process(target=_command, args=about)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{line} has not ended after {timeout} s: {err.read_text()}")
        return subprocess.CompletedProcess(line, process.exitcode, out.read_text(), err.read_text())


def _command(line: list[str], cwd: str, env: dict[str, str], out: Path, err: Path) -> None:
    for stream, number, path in (("stdout", 1, out), ("stderr", 2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
        setattr(sys, stream, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = line
    sys.path.insert(0, cwd)
    from deepreduce.cli.main import run

    try:
        run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
