"""A seeded part of the matrix: every fault, every state; and the harness itself, which must see what is wrong.

`bench/service/faults.py` goes through all of it.
"""

import json
import os
import random
from dataclasses import astuple
from pathlib import Path

import pytest

from deepreduce.inference.client import material_pool as client_pool
from deepreduce.inference.server import material_pool as server_pool
from deepreduce.inference.store import store as store_module
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import Reason
from faults import outcome as limits
from faults.environment import World
from faults.runs import run
from faults.schedule import FAMILIES, Cell, Schedule, draw, drawn, matrix
from faults.summary import Summary

SEED = 1
RUNS = 60
KEPT = [Schedule.from_json(one) for one in json.loads(Path(__file__).with_name("kept.json").read_text())]


@pytest.fixture(scope="module")
def world():
    with World() as here:
        yield here


def sample():
    """Cells with every fault and, as far as the number goes, every side, state and kind of frame."""
    source = random.Random(SEED)
    cells = [cell for cell in matrix() if cell.family != "command"]  # a process each: one of either side below
    source.shuffle(cells)
    chosen = list({(cell.family, cell.fault): cell for cell in cells}.values())
    chosen += {cell.side: cell for cell in matrix() if cell.family == "command"}.values()
    met = {(cell.side, cell.state, cell.kind) for cell in chosen}
    for cell in cells:
        if (place := (cell.side, cell.state, cell.kind)) not in met and cell.family in ("message", "kill"):
            met.add(place)
            chosen.append(cell)
    return chosen[:RUNS]


@pytest.mark.parametrize("cell", sample(), ids=lambda c: f"{c.fault}-{c.side}-{c.state}-{c.kind}".replace(" ", "_"))
def test_nothing_is_lost_but_what_was_hit(world, cell):
    outcome = run(world, drawn(cell, random.Random(f"{SEED} {cell}")))
    assert outcome.applied
    assert not outcome.failures


@pytest.mark.parametrize("schedule", KEPT, ids=lambda s: f"{s.cell.fault}-{s.cell.side}-{s.cell.state}-{s.cell.kind}")
def test_what_once_went_wrong(world, schedule):
    assert not run(world, schedule).failures


def test_the_sample_has_every_fault():
    assert {(c.family, c.fault) for c in sample()} == {(c.family, c.fault) for c in matrix()}
    assert {c.family for c in matrix()} == set(FAMILIES)


def test_all_cells_are_drawn_and_a_run_can_be_repeated():
    count = len(matrix())
    assert {draw(5, run).cell for run in range(count)} == set(matrix())
    assert list(matrix()) == sorted(matrix(), key=astuple)  # whatever order the frames came in
    assert draw(5, 2 * count + 3) == draw(5, 2 * count + 3) == Schedule.from_json(draw(5, 2 * count + 3).to_json())


def test_a_summary_counts(world):
    summary = Summary(SEED)
    cell = Cell("message", "other number", "client", "online input", "INPUT")
    summary.add(run(world, drawn(cell, random.Random(0))), 1, 1 << 20)
    assert len(summary.missing()) == len(matrix()) - 1
    (_, _, totals), (_, _, coverage) = summary.tables()
    assert totals[1][:5] == ["message: other number", "1", "0", "1", "0"]
    assert any(row[0] == "client: online input, INPUT" and row[1].startswith("1 (1/") for row in coverage)


# --- the harness sees what is wrong: each time the product is broken on purpose --------------------------------------


def broken(cell, monkeypatch, patch, *, protocol="delphi"):
    """The failures of a run with a product in which something was broken."""
    schedule = next(s for n in range(99) if (s := drawn(cell, random.Random(n))).protocol == protocol and s.stored)
    with World() as here:
        patch(here)
        outcome = run(here, schedule)
        monkeypatch.undo()
    return " ".join(outcome.failures)


ANSWERED = Cell("message", "delayed", "client", "online input", "INPUT")


def test_a_store_that_burns_nothing_is_seen(monkeypatch):
    def patch(_):
        for name in ("_burn", "_remove"):
            monkeypatch.setattr(store_module.Store, name, lambda *_: None)

    found = broken(ANSWERED, monkeypatch, patch)
    assert "a batch that was used is ready at the client" in found


def test_material_that_is_used_twice_is_seen(monkeypatch):
    """A client that puts back what it has taken, and a server that does so, too."""

    def putting_back(take):
        seen = []

        def again(self, *claim):
            seen.extend([take(self, *claim)] if not seen else [])
            return seen[0]

        return again

    def patch(_):
        for pool in (client_pool.ClientStoredPool, server_pool.ServerStoredPool):
            monkeypatch.setattr(pool, "take", putting_back(pool.take))

    found = broken(ANSWERED, monkeypatch, patch)
    assert "a batch was used twice by the client" in found


def test_a_descriptor_that_stays_open_is_seen(monkeypatch):
    close, kept = Channel.close, []

    def patch(_):
        monkeypatch.setattr(limits, "LIMIT_S", 2.0)
        monkeypatch.setattr(Channel, "close", lambda self: (kept.append(os.pipe()), close(self)))

    assert "(threads, descriptors)" in broken(ANSWERED, monkeypatch, patch)
    for end in sum(kept, ()):
        os.close(end)


def test_an_unclear_error_is_seen(monkeypatch):
    cell = Cell("message", "other number", "client", "online input", "INPUT")
    fail = Channel.fail

    def unclear(self, reason, *limit):
        if self._peer == "client" and reason == Reason.MALFORMED:
            raise RuntimeError("oh")
        fail(self, reason, *limit)

    assert "oh" in broken(cell, monkeypatch, lambda _: monkeypatch.setattr(Channel, "fail", unclear))
