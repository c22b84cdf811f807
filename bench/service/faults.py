"""Harms client and server thousands of times, and looks at what is left: tests/faults, docs/operate/faults.md.

python bench/service/faults.py --runs 3000 --workers 3         all cells of the matrix twice; writes bench/results
python bench/service/faults.py --seed 1 --run 17               one run again, and what came of it
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import results_page
from faults.environment import World
from faults.outcome import Outcome
from faults.runs import run as run_one
from faults.schedule import Schedule, draw, drawn, expected, matrix
from faults.summary import ABOUT, GROWTH_BYTES, Summary


def work(pipe: Connection, nice: int) -> None:
    """A worker: gets schedules until None, answers with what came of each. Where something went wrong, it begins
    in a new world.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells us to end, or is no more
    os.nice(nice)
    with contextlib.suppress(EOFError, BrokenPipeError):
        work_on(pipe)


def work_on(pipe: Connection) -> None:
    """Until there is nothing more to do."""
    schedule = pipe.recv()
    while schedule is not None:
        with World() as world:
            failed = False
            while schedule is not None and not failed:
                used = len(world.used["client"])
                try:
                    outcome = run_one(world, schedule)
                except Exception:
                    outcome = Outcome(schedule, failures=[traceback.format_exc()])
                failed = bool(outcome.failures)
                pipe.send((outcome, world.rss_bytes(), len(world.used["client"]) - used))
                schedule = pipe.recv()


def schedules(arguments: argparse.Namespace) -> list[Schedule]:
    """All runs that are asked for."""
    seed = arguments.seed
    if arguments.missed is None:
        return [draw(seed, run) for run in range(arguments.first, arguments.first + arguments.runs)]
    missed = json.loads(arguments.missed.read_text())["cells_missed"]
    return [drawn(cell, random.Random(f"missed {seed} {cell}")) for cell in matrix() if str(cell) in missed]


def many(arguments: argparse.Namespace) -> Summary:
    """All runs, or as many as fit into the time, with a bar."""
    everything = schedules(arguments)
    count, numbers = len(everything), {one: n for n, one in enumerate(everything, arguments.first)}
    end = time.monotonic() + 60 * arguments.minutes
    summary, runs = Summary(arguments.seed), iter(everything)
    context = multiprocessing.get_context("spawn")
    busy = {}
    for _ in range(min(arguments.workers, count)):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, arguments.nice))
        process.start()
        ours.send(next(runs, None))
        busy[ours] = process
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("runs", total=count)
        while busy:
            (pipe, *_) = wait([*busy, *(process.sentinel for process in busy.values())])
            assert isinstance(pipe, Connection), "a worker has died"
            outcome, rss_bytes, used = pipe.recv()
            following = next(runs, None) if time.monotonic() < end else None
            pipe.send(following)
            summary.add(outcome, busy[pipe].pid, rss_bytes)
            summary.used += used
            if following is None:
                busy.pop(pipe).join()
            bar.advance(task)
            if outcome.failures:
                bar.update(task, description=f"runs, [red]{len(summary.failed())} failed[/]")
                run = numbers[outcome.schedule]
                bar.console.print(f"run {run} failed: {outcome.failures}", markup=False)
                if arguments.missed is None:
                    bar.console.print(
                        f"  again: python bench/service/faults.py --seed {summary.seed} --run {run}", markup=False
                    )
                bar.console.print(f"  keep: {json.dumps(outcome.schedule.to_json())}", markup=False)
    return summary


def alone(seed: int, run: int) -> None:
    """One run, in this process."""
    schedule = draw(seed, run)
    print(json.dumps(schedule.to_json()))
    with World() as here:
        outcome = run_one(here, schedule)
    print(f"expected: {expected(schedule)}; ended: {outcome.ended or '-'} {outcome.error}")
    for text in outcome.failures:
        print(f"failed: {text}")
    sys.exit(bool(outcome.failures))


def page_of(summary: Summary, seconds: float, workers: int) -> str:
    """The page."""
    data = summary.to_json()
    text = results_page.head("Faults between client and server", ABOUT)
    growth = ", ".join(f"{value / 2**20:+.1f}" for value in data["memory_growth_bytes"]) or "-"
    errors = [[text, str(count)] for text, count in data["errors"].items()]
    text += "\n".join(f"- {line}" for line in (
        f"{data['runs']:,} runs, {data['applied']:,} faults applied; {workers} processes, {seconds / 60:.1f} minutes",
        f"failed: **{len(data['failed'])}**",
        f"batches used on the wire: {data['batches_used']:,}, used twice: **{data['batches_used_twice']}**",
        f"cells met: {data['cells'] - len(data['cells_missed']):,} of {data['cells']:,}",
        f"repeated because the machine was too busy for a time limit: {data['repeated_on_a_busy_machine']}",
        f"memory of each process since its warm-up, MiB: {growth} (allowed: {GROWTH_BYTES / 2**20:.0f})",
        "threads and descriptors: as before, after every run that did not fail",
    ))  # fmt: skip
    text += "\n\n"
    if summary.failed():
        text += "## What failed\n\n"
    for outcome in summary.failed():
        text += f"- `{json.dumps(outcome.schedule.to_json())}`: {'; '.join(outcome.failures)}\n"
    for title, headers, rows in [*summary.tables(), ("What was said", ["error", "times"], errors)]:
        text += f"## {title}\n\n{results_page.table(headers, rows)}\n"
    text += (
        "Coverage: runs that met it (faults of that family met / there are), by whose frame it was and in which state\n"
    )
    text += "of its peer it arrives.\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=int, help="this one alone")
    parser.add_argument("--runs", type=int, default=2 * len(matrix()))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--missed", type=Path, help="results (.json) of a run: the cells that it did not meet")
    parser.add_argument("--workers", type=int, default=3, help="most of the time they wait")
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more runs after that")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the page, write no files")
    arguments = parser.parse_args()
    if arguments.run is not None:
        alone(arguments.seed, arguments.run)
    started = time.perf_counter()
    summary = many(arguments)
    seconds = time.perf_counter() - started
    text = page_of(summary, seconds, arguments.workers)
    if arguments.print:
        print(text)
    else:
        page = results_page.path("faults", arguments.hardware)
        page.write_text(text)
        page.with_suffix(".json").write_text(json.dumps({**summary.to_json(), "seconds": seconds}, indent=1) + "\n")
        print(f"wrote {page}")
    whole = len(summary.outcomes) >= len(matrix())
    problems = [f"{len(summary.failed())} runs failed"] * bool(summary.failed())
    problems += [f"{len(summary.missing())} cells were not met"] * bool(whole and summary.missing())
    problems += [f"memory has grown by {value:,} bytes" for value in summary.growth() if value > GROWTH_BYTES]
    sys.exit("; ".join(problems) or 0)


if __name__ == "__main__":
    main()
