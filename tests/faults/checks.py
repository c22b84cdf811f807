"""What must hold after every run, whatever was harmed in it."""

from __future__ import annotations

import os
import time

from . import outcome as limits
from .environment import World, resources
from .network import X, is_right
from .outcome import CLEAN_S, ONE_LINE, Outcome
from .stores import Books, books, complaints

SIDES = ("client", "server")


def check_next_one(world: World, name: str, outcome: Outcome, port: int) -> None:
    """A fresh connection predicts with what is in the stores, or with what it prepares."""
    schedule = outcome.schedule
    try:
        with world.client(schedule, name, port, CLEAN_S, stored=True) as client:
            if not client.prepared:
                client.prepare(1)
            if not is_right(client.predict_integers(X)):
                outcome.failures.append("the next answer is wrong")
    except Exception as error:
        outcome.failures.append(f"the next prediction failed: {error}")


def check_stores(world: World, name: str, before: dict[str, Books], outcome: Outcome) -> None:
    """Each store is whole, and what a client has ready its server has, too."""
    limit = time.monotonic() + limits.LIMIT_S
    for side in SIDES:
        # Files of used batches are removed by a thread.
        while (found := complaints(world.folder / side / name, before[side])) and time.monotonic() < limit:
            time.sleep(0.05)
        outcome.failures += [f"{side}: {text}" for text in found]
    ready = {side: books(world.folder / side / name).ready for side in SIDES}
    if lost := ready["client"] - ready["server"]:
        outcome.failures.append(f"{len(lost)} batches are ready at the client and not at the server")


def check_ledger(world: World, name: str, outcome: Outcome) -> None:
    """Nothing was used twice, and nothing that was used is ready."""
    for side, used in world.used.items():
        if len(used) != len(set(used)):
            outcome.failures.append(f"a batch was used twice by the {side}")
        if set(used) & books(world.folder / side / name).ready:
            outcome.failures.append(f"a batch that was used is ready at the {side}")
    if not set(world.used["server"]) <= set(world.used["client"]):
        outcome.failures.append("the server used what no client has named")


def check_resources(world: World, outcome: Outcome) -> None:
    """Threads and descriptors are as many as they were."""
    limit = time.monotonic() + limits.LIMIT_S
    while resources() != world.baseline and time.monotonic() < limit:
        time.sleep(0.01)
    if (found := resources()) != world.baseline:
        outcome.failures.append(f"(threads, descriptors) are {found} and were {world.baseline}")


def check_words(world: World, outcome: Outcome) -> None:
    """Nobody said more than a line at a time."""
    outcome.failures += world.heard
    world.heard.clear()
    for log in (world.log, world.commands.log):
        said = log.read_text()
        if "Traceback" in said or any(len(line) > 2 * ONE_LINE for line in said.splitlines()):
            outcome.failures.append(f"a process said more than lines: {said[-1000:]}")
        os.truncate(log, 0)
    for event, fields in world.events:
        text = str(fields.get("text", ""))
        if event == "failed":
            outcome.failures.append("the server met an error that it did not expect")
        if "\n" in text or len(text) > ONE_LINE:
            outcome.failures.append(f"the server's log has an error that is not one line: {text!r}")
