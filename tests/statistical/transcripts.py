"""The distinguishers of test_transcripts.py at length: python tests/statistical/transcripts.py [predictions] [sessions]

Prints a table for bench/results. Exit code 1: something was told apart, with a probability of FALSE_ALARM by chance.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import numpy as np
import sklearn
from distinguishers import distinguish, repeated_blocks
from views import SECRET_OF, predictions, strings

from deepreduce import _core

FALSE_ALARM = 1e-6  # of the whole run
Row = tuple[str, str, str, int, int, int, float, float, float]


def rows(protocol: str, count: int, sessions: bool) -> list[Row]:
    """A row for each kind of message: tests, repeated blocks, smallest p, smallest and largest AUC."""
    found = predictions(protocol, count, np.random.default_rng(1), sessions=sessions)
    table: list[Row] = []
    for party in SECRET_OF:
        shapes = [view.shape() for view in found.views[party]]
        assert all(shape == shapes[0] for shape in shapes), "lengths or orders differ"
        rng, labels = np.random.default_rng(2), found.classes(party)
        for kind, content in strings(found.views[party]).items():
            tests = list(distinguish(content, labels, rng))
            aucs, twice = [auc for _, auc, _ in tests], repeated_blocks([row.tobytes() for row in content])
            smallest = min(p for _, _, p in tests)
            table.append((protocol, party, kind, content.shape[1], len(tests), twice, smallest, min(aucs), max(aucs)))
    return table


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [400, 200]
    print(
        f"{platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}, {_core.cpu_path()}"
    )
    every: list[Row] = []
    for count, sessions in zip(counts, (False, True), strict=False):
        started = time.perf_counter()
        table = [row for protocol in ("ot", "delphi") for row in rows(protocol, count, sessions)]
        every += table
        kind = "sessions of one prediction" if sessions else "predictions of two sessions"
        print(f"\n{count} {kind} with each protocol, {time.perf_counter() - started:.0f} s\n")
        print("| protocol | view of | messages | bytes | tests | blocks twice | smallest p | AUC from | to |")
        print("|---|---|---|---|---|---|---|---|---|")
        for *words, p, least, most in table:
            print(f"| {' | '.join(map(str, words))} | {p:.2g} | {least:.3f} | {most:.3f} |")
    number = sum(row[4] for row in every)
    told = [row for row in every if row[6] < FALSE_ALARM / number or row[5]]
    print(f"\n{number} tests, limit {FALSE_ALARM / number:.2g} each, {FALSE_ALARM} in all: {len(told)} told apart")
    sys.exit(bool(told))


if __name__ == "__main__":
    main()
