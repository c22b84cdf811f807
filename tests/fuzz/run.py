"""Fuzzes every target in turn: atheris for the Python half, libFuzzer for the compiled core.

    python tests/fuzz/run.py --seconds 75                   # all of it, as `make fuzz` does
    python tests/fuzz/run.py --minutes 60 plan weights      # rounds over these targets
    python tests/fuzz/run.py --sanitized                    # the Python half over a core built with the sanitizers
    python tests/fuzz/run.py --keep                         # some of what was found, into corpora/

What a run finds lies below build/fuzz: NAME/corpus, NAME/log, and totals.json, which adds up over runs. An input that
breaks a target is copied to corpora/NAME, where the tests replay it until it is mended; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parent), str(HERE.parent / "support")]  # not this folder, whose modules are those of a package

from fuzz.fuzzers import (  # noqa: E402
    BUILD,
    CORE,
    CORPORA,
    Fuzzer,
    cmake,
    core_fuzzers,
    python_fuzzers,
    sanitized_environment,
)
from fuzz.registry import all_targets  # noqa: E402
from fuzz.target import check  # noqa: E402
from fuzz.totals import Totals, table  # noqa: E402

ROUND_S = 20  # of one target, in long runs
KEPT_BYTES = 8_000  # of what a fuzzer found, for each target, in version control
KEPT = 12  # inputs of them


def main() -> int:
    """The exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of torch do not survive the forks that fuzz
    options = _options()
    if options.reproduce:
        _reproduce(*options.reproduce)
        return 0
    if options.sanitized and CORE not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | sanitized_environment())
    fuzzers = _available("python" if options.sanitized else options.only)
    chosen = [one for one in fuzzers if not options.targets or one.name in options.targets]
    if unknown := set(options.targets) - {one.name for one in fuzzers}:
        known = ", ".join(one.name for one in fuzzers)
        print(f"error: no target is named {', '.join(sorted(unknown))}; there are {known}")
        return 2
    if not chosen:
        return 0
    if options.keep:
        for one in chosen:
            _keep(one)
        return 0
    seconds = options.minutes * 60 if options.minutes else options.seconds
    whole = sum(one.weight for one in chosen)
    totals = _fuzz(chosen, seconds, ROUND_S if options.minutes else seconds / whole, rounds=bool(options.minutes))
    print(table(totals))
    broken = [name for name, one in totals.targets.items() if one.broken]
    if broken:
        print(f"error: inputs that break {', '.join(broken)} are in {CORPORA}; run the tests to see how")
    if blind := totals.blind():
        print(f"error: nothing of ours was covered by {', '.join(blind)}: its modules were not instrumented")
    return 1 if broken or blind else 0


def _fuzz(fuzzers: Sequence[Fuzzer], seconds: float, each: float, *, rounds: bool) -> Totals:
    """Slices of time for all, once or in rounds until the time is spent; what this run did."""
    here, end = Totals(), time.monotonic() + seconds
    kept = BUILD / ("totals-sanitized.json" if CORE in os.environ else "totals.json")
    overall = Totals.read(kept)
    while time.monotonic() < end:
        for one in fuzzers:
            if rounds and time.monotonic() > end:
                break
            found = one.fuzz(max(1, round(each * one.weight)))
            print(f"{one.name}: {found}", flush=True)
            for totals in (here, overall):
                totals.add(one.name, found)
            overall.write(kept)
        if not rounds:
            break
    return here


def _reproduce(name: str, file: str) -> None:
    """One input through its target, with whatever it raises."""
    chosen = {one.name: one for one in all_targets(torch=True)}[name]
    check(chosen, Path(file).read_bytes())
    print(f"{name}: a value, or an error of ours, within its bounds")


def _keep(one: Fuzzer) -> None:
    """The smallest of the inputs that libFuzzer kept, each of which reached something new."""
    folder = CORPORA / one.folder
    for old in folder.glob("found-*"):
        old.unlink()
    known, spent = {path.read_bytes() for path in folder.iterdir()}, 0
    found = [path.read_bytes() for path in (BUILD / one.name / "corpus").glob("*")]
    new = sorted({*found} - known, key=lambda content: (len(content), content))
    for content in new[:: max(1, -(-len(new) // KEPT))]:  # of every size
        if spent + len(content) > KEPT_BYTES:
            break
        spent += len(content)
        (folder / f"found-{hashlib.sha1(content).hexdigest()[:10]}").write_bytes(content)
    print(f"{one.name}: {spent:,} bytes kept")


def _available(only: str | None) -> list[Fuzzer]:
    """Those that this machine can run; a hint for the others, which is an error where nothing may be left out."""
    fuzzers: list[Fuzzer] = []
    missing = []
    if only != "core":
        if importlib.util.find_spec("atheris"):
            fuzzers += python_fuzzers()
        else:
            missing.append("the Python half is fuzzed with atheris: pip install atheris")
    if only != "python":
        if shutil.which("clang++") and cmake():
            fuzzers += core_fuzzers()
        else:
            missing.append("the core is fuzzed with libFuzzer: apt-get install clang libclang-rt-14-dev")
    for text in missing:
        print(f"skipped: {text}")
    if missing and os.environ.get("CI"):
        raise SystemExit("error: nothing may be skipped where CI is set")
    return fuzzers


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which; all if none is named")
    parser.add_argument("--seconds", type=float, default=75.0, help="for all targets together (75)")
    parser.add_argument(
        "--minutes", type=float, help=f"the same for a long run, in rounds of {ROUND_S} s for each target"
    )
    parser.add_argument("--only", choices=("python", "core"), help="one half")
    parser.add_argument("--sanitized", action="store_true", help="the Python half over a core built with sanitizers")
    parser.add_argument("--reproduce", nargs=2, metavar=("TARGET", "FILE"), help="one input, with its traceback")
    parser.add_argument("--keep", action="store_true", help="copy what was found into corpora/, and do not fuzz")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
