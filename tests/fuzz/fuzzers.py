"""How a target is fuzzed: in a fork of a process that has everything instrumented, or as a program of its own."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz import core_seeds
from fuzz.registry import all_targets
from fuzz.scratch import forget
from fuzz.target import Target, check
from fuzz.totals import Found, read_log

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPORA = HERE / "corpora"  # what crashed once, and some of what was found
BUILD = ROOT / "build" / "fuzz"
SEEDS = BUILD / "seeds"  # made anew for every run
CORE = "DEEPREDUCE_FUZZ_CORE"  # the environment variable that names another build of the core
RESIDENT_MB = 2048  # of the whole process, its corpus included; each input's own bound is its target's
CORE_MALLOC_MB = 64  # of one input of the core's targets
CORE_SECONDS = 10


@dataclass(frozen=True)
class Fuzzer:
    """``launch`` runs libFuzzer with these arguments, its output to a log, until it ends. ``folder``: in `CORPORA`."""

    name: str
    folder: str
    flags: tuple[str, ...]
    launch: Callable[[list[str], Path], int]
    weight: float = 1.0

    def fuzz(self, seconds: int) -> Found:
        """One slice of time."""
        place = BUILD / self.name
        corpus, crashes, log = place / "corpus", place / "crashes", place / "log"
        shutil.rmtree(crashes, ignore_errors=True)
        for folder in (corpus, crashes, CORPORA / self.folder, SEEDS / self.folder):
            folder.mkdir(parents=True, exist_ok=True)
        flags = [f"-max_total_time={seconds}", "-print_final_stats=1", "-reload=0", f"-artifact_prefix={crashes}/"]
        started = time.monotonic()
        code = self.launch(
            [*self.flags, *flags, str(corpus), *(str(kept / self.folder) for kept in (CORPORA, SEEDS))], log
        )
        broken = []
        for path in sorted(crashes.iterdir()):
            name = f"{path.name[:20]}"
            shutil.copy(path, CORPORA / self.folder / name)
            broken.append(name)
        if code and not broken:
            broken.append(f"exit code {code}, see {log}")
        return read_log(log.read_text(errors="replace"), time.monotonic() - started, broken)


def python_fuzzers() -> list[Fuzzer]:
    """Imports everything of ours with instrumentation, once."""
    import atheris

    # An editable installation has a loader of its own, whose modules atheris passes over: straight from the sources.
    sys.meta_path[:] = [found for found in sys.meta_path if not type(found).__module__.startswith("_editable")]
    sys.path.insert(0, str(ROOT / "src"))
    (installed,) = Path(sysconfig.get_path("platlib"), "deepreduce").glob("_core*.so")
    with (
        open(os.devnull, "w") as quiet,  # noqa: PTH123
        contextlib.redirect_stderr(quiet),
        atheris.instrument_imports(include=["deepreduce"], enable_loader_override=False),
    ):
        core = os.environ.get(CORE)
        _other_core(core or str(installed))
        targets = all_targets(torch=not core)  # torch has a run-time library of its own
    for chosen in targets:
        write_seeds(SEEDS / chosen.name, chosen.seeds())
    return [
        Fuzzer(
            chosen.name,
            chosen.name,
            (f"-timeout={chosen.seconds}", f"-max_len={chosen.most_bytes}", f"-rss_limit_mb={RESIDENT_MB}"),
            functools.partial(_forked, chosen),
            3.0 if chosen.seconds >= 60 else 1.0,  # whole sessions are slow
        )
        for chosen in targets
    ]


def core_fuzzers() -> list[Fuzzer]:
    """Builds the core and its targets."""
    folder = BUILD / "cmake"
    _build(folder, "fuzzers")
    for name, contents in core_seeds.SEEDS.items():
        write_seeds(SEEDS / "cpp" / name, contents)
    programs = sorted((folder / "tests" / "fuzz" / "cpp").glob("fuzz_*"))
    return [
        Fuzzer(
            path.name,
            f"cpp/{path.name.removeprefix('fuzz_')}",
            (
                f"-timeout={CORE_SECONDS}",
                f"-malloc_limit_mb={CORE_MALLOC_MB}",
                f"-rss_limit_mb={RESIDENT_MB}",
                "-max_len=4096",
            ),
            functools.partial(_program, path),
        )
        for path in programs
        if os.access(path, os.X_OK) and path.is_file()
    ]


def write_seeds(folder: Path, contents: Iterable[bytes]) -> None:
    """Write the inputs that a fuzzer begins with, in place of those of an earlier run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, content in enumerate(dict.fromkeys(contents)):
        (folder / f"seed-{number:03}").write_bytes(content)


def sanitized_environment() -> dict[str, str]:
    """Builds the Python module in the same way; what a process needs to fuzz over it."""
    import atheris
    import nanobind

    folder = BUILD / "module"
    _build(
        folder,
        "_core",
        "-DSKBUILD=ON",
        f"-Dnanobind_DIR={nanobind.cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
    )
    (module,) = folder.glob("_core.*.so")
    return {
        "LD_PRELOAD": str(Path(atheris.path()) / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        CORE: str(module),
    }


def cmake() -> str | None:
    """The one of this environment, or the machine's."""
    beside = Path(sys.executable).with_name("cmake")
    return str(beside) if beside.exists() else shutil.which("cmake")


def _other_core(path: str) -> None:
    """In place of the module that is installed."""
    import deepreduce

    spec = importlib.util.spec_from_file_location("deepreduce._core", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["deepreduce._core"] = deepreduce._core = module  # type: ignore[attr-defined]


def _build(folder: Path, what: str, *settings: str) -> None:
    """With clang, the address and undefined-behavior sanitizers, and coverage."""
    chosen = ["-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    chosen += ["-DDEEPREDUCE_FUZZ=ON", "-DDEEPREDUCE_SANITIZE=ON", *settings]
    program = cmake()
    assert program is not None
    for command in (
        [program, "-S", str(ROOT), "-B", str(folder), *chosen],
        [program, "--build", str(folder), "--target", what],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: {' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def _program(path: Path, flags: list[str], log: Path) -> int:
    with log.open("w") as out:
        return subprocess.run([str(path), *flags], stdout=out, stderr=subprocess.STDOUT).returncode


def _forked(chosen: Target, flags: list[str], log: Path) -> int:
    """atheris ends its process, so it gets one of its own; the instrumented modules come along."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        forget(child)
        return code
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        _fuzz(chosen, flags)
    finally:
        ctypes.CDLL(None).exit(1)  # C's, after which libFuzzer writes the input that it was at


def _fuzz(chosen: Target, flags: list[str]) -> None:
    import logging

    import atheris

    logging.disable(logging.CRITICAL)
    mutate = chosen.mutate

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        """Half of the time by form, half blindly."""
        random = Random(seed)
        if mutate is None or random.random() < 0.4:
            return bytes(atheris.Mutate(data, most))
        try:
            changed = mutate(data, random)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):  # no longer of its form
            changed = None
        return bytes(atheris.Mutate(data, most)) if changed is None or len(changed) > most else changed

    more = {} if mutate is None else {"custom_mutator": mutator}
    atheris.Setup([sys.argv[0], *flags], lambda data: check(chosen, data), **more)
    atheris.Fuzz()
