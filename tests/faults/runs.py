"""One run: a party is harmed while it prepares and predicts; then everything is looked at.

There are four ways: both parties in this process; the server, or the client, as a process (`party`); and the commands.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from deepreduce.errors import SessionError, StoreError

from . import host_faults
from .checks import SIDES, check_ledger, check_next_one, check_resources, check_stores, check_words
from .environment import World
from .frames import records_before
from .host_faults import DISTANCES_S, LEFT
from .messages import message_fault
from .network import X
from .outcome import CLEAN_S, LIMIT_S, TIMEOUT_S, UNDUE, Outcome
from .parties import Party
from .party import KILLS
from .relay import Relay, WireFault
from .schedule import MOST_POINTS, TENTHS, Schedule
from .stores import books
from .tap import Act, Injection, Tap

ATTEMPTS = 3  # at a run in which the machine was too slow for a time limit
COMMAND_S = 1.0  # within which a command is killed
MOST_REPEATS = 1000  # of a client whose server will be killed
CLOCK = "clock of a process"
SILENT = "silent for too long"


def run(world: World, schedule: Schedule) -> Outcome:
    """One run; once more if a time limit was missed that only a busy machine can miss."""
    for attempt in range(ATTEMPTS):
        outcome = _run(world, schedule)
        outcome.late = attempt > 0
        if not _too_slow(outcome):
            break
    return outcome


def _too_slow(outcome: Outcome) -> bool:
    """Silence where nothing was lost, or before the fault; or a pause that a party began to wait for too late."""
    if not outcome.applied and SILENT in outcome.error:
        return True
    paused = outcome.schedule.cell.fault in ("late", "paused too long")
    return any(SILENT in text or (paused and text == UNDUE) for text in outcome.failures)


def _run(world: World, schedule: Schedule) -> Outcome:
    outcome, name, harm = Outcome(schedule), *_way(world, schedule)
    world.patience(CLEAN_S)
    with world.serving(name) as port:
        _stock(world, schedule, name, port)
    world.patience(TIMEOUT_S)
    before = {side: books(world.folder / side / name) for side in SIDES}
    world.events.clear()
    try:
        harm(world, name, outcome)
        if not world.settled(name):
            outcome.failures.append("the server's session has not ended")
        world.restore()
        world.patience(CLEAN_S)
        with world.serving(name) as port:
            check_next_one(world, name, outcome, port)
            world.settled(name)
            check_stores(world, name, before, outcome)
    finally:
        world.restore()
        world.clocks.reset()
    check_ledger(world, name, outcome)
    check_resources(world, outcome)
    check_words(world, outcome)
    if not outcome.applied and schedule.cell.family != "point":
        outcome.failures.append("the fault did not happen")
    return outcome


def _way(world: World, schedule: Schedule) -> tuple[str, Callable[[World, str, Outcome], None]]:
    """The name of the stores, and what harms."""
    family, by_server = schedule.cell.family, schedule.cell.side == "server"
    name = "tls" if schedule.tls else "plain"
    if family == "command":
        return ("command", _serve_command) if by_server else (name, _predict_command)
    if family in ("kill", "pause", "point") or (family == CLOCK and world.clock_parties is not None):
        return ("process", _server_as_process) if by_server else (name, _client_as_process)
    return name, _on_the_wire if family == "wire" else _in_process


def _stock(world: World, schedule: Schedule, name: str, port: int) -> None:
    """Two batches at least wait in the stores."""
    with world.client(schedule, name, port, CLEAN_S, stored=True) as client:
        if client.prepared < 2:
            client.prepare(3)


# --- both parties in this process ------------------------------------------------------------------------------------


def _on_the_wire(world: World, name: str, outcome: Outcome) -> None:
    schedule = outcome.schedule
    frame, source = schedule.frame, random.Random(schedule.seed)
    unit = frame.number
    if schedule.tls:
        before = records_before(schedule.protocol, schedule.stored, frame)
        unit = world.handshake[frame.side] + before + source.randrange(frame.records)
    fault = WireFault(schedule.cell.fault, frame.side, unit, source.random(), schedule.seed)
    with Relay(world.servers[name][1], schedule.tls, fault) as relay:
        _ask(world, name, outcome, relay.port, lambda: relay.applied_at)
        _note_end(world, name, outcome, relay.applied_at)


def _in_process(world: World, name: str, outcome: Outcome) -> None:
    schedule = outcome.schedule
    injection = Injection(schedule.cell.side, schedule.frame.number, _act(world, schedule))
    world.wiring.injection = injection
    _ask(world, name, outcome, world.servers[name][1], lambda: injection.applied_at)
    _note_end(world, name, outcome, injection.applied_at)


def _act(world: World, schedule: Schedule) -> Act:
    """What happens at the frame."""
    cell, source = schedule.cell, random.Random(schedule.seed)
    if cell.family == "message":
        return message_fault(cell.fault, source, TIMEOUT_S)
    left, jump = source.choice(LEFT), source.choice(DISTANCES_S)

    def act(tap: Tap, frame: bytearray) -> None:
        if cell.fault == "disk full" and world.mounted:
            world.disks[cell.side].fill(left)
        elif cell.family == "disk":
            host_faults.limit_files(max(left, 1 << 10))
        else:
            world.clocks.jump(cell.fault, host_faults.JUMPS_S.get(cell.fault, 1.0) * jump)
        tap.forward(frame)

    return act


def _ask(world: World, name: str, outcome: Outcome, port: int, applied_at: Callable[[], float | None]) -> None:
    """Connects, prepares, predicts, in this process, while a watchdog waits. ``applied_at()``: when the fault was."""
    family, hung = outcome.schedule.cell.family, threading.Event()

    def hang() -> None:
        hung.set()
        for tap in list(world.wiring.live):
            tap.shutdown()

    watchdog = threading.Timer(LIMIT_S + 3 * TIMEOUT_S, hang)
    watchdog.start()
    try:
        with world.client(outcome.schedule, name, port, TIMEOUT_S) as client:
            try:
                client.prepare(1)
            except StoreError:  # no room; what was prepared before may be used, as far as that can be written down
                if family != "disk":
                    raise
            y = client.predict_integers(X)
            for _ in range(MOST_REPEATS if family == "command" else 0):
                client.prepare(1)
                y = client.predict_integers(X)
        outcome.answered(y)
    except (SessionError, StoreError) as error:
        outcome.failed_with(str(error))
    except Exception as error:
        outcome.failures.append(f"the client raised {type(error).__name__}: {error}")
    finally:
        watchdog.cancel()
        watchdog.join()
    if (at := applied_at()) is not None:
        outcome.client_s = time.monotonic() - at
    if hung.is_set():
        outcome.failures.append("the client hung")


def _note_end(world: World, name: str, outcome: Outcome, applied_at: float | None) -> None:
    """When the server's session ended."""
    outcome.applied = applied_at is not None
    if world.settled(name) and applied_at is not None:
        outcome.server_s = time.monotonic() - applied_at


# --- a party as a process --------------------------------------------------------------------------------------------


def _server_as_process(world: World, name: str, outcome: Outcome) -> None:
    schedule = outcome.schedule
    ended: list[float] = []
    with _begin(world, schedule, store=world.folder / "server" / name) as party:
        port = party.wait_for("port")
        waker = party.continues_after(_pause_s(schedule)) if schedule.cell.family == "pause" else None
        if port is None:  # died while it was opening its store
            outcome.ended = "killed"
        else:
            _ask(world, name, outcome, port, lambda: None)
            ended.append(time.monotonic())
        if waker is not None:
            party.kill()
            waker.join()
    _told(world, party, outcome)
    if ended and (at := party.found("at")) is not None:
        outcome.client_s = ended[0] - at


def _client_as_process(world: World, name: str, outcome: Outcome) -> None:
    schedule = outcome.schedule
    store = world.folder / "client" / name if schedule.stored else None
    with _begin(world, schedule, store=store, port=world.servers[name][1]) as party:
        waker = party.continues_after(_pause_s(schedule)) if schedule.cell.family == "pause" else None
        party.wait_for("status", CLEAN_S)
        if waker is not None:
            waker.join()
    status = party.found("status")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        outcome.ended = "killed"
        if schedule.cell.fault not in KILLS and schedule.cell.family != "point":
            outcome.failures.append("the client was killed by somebody else")
    elif (error := party.found("error")) is not None:
        outcome.failed_with(error)
    else:
        outcome.answered(party.found("answer"))
    _note_end(world, name, outcome, party.found("at"))
    _told(world, party, outcome)


def _begin(world: World, schedule: Schedule, **more: Any) -> Party:
    cell, source = schedule.cell, random.Random(schedule.seed)
    order = {
        "side": cell.side,
        "fault": cell.fault,
        "protocol": schedule.protocol,
        "tls": schedule.tls,
        "seed": schedule.seed,
        "timeout_s": TIMEOUT_S,
        **{key: world.folder / f"{key}.pem" for key in ("authority", "certificate", "key")},
        **more,
    }
    if cell.family == "point":
        return world.parties.begin(**order, point=1 + int(MOST_POINTS * _moment(schedule)))
    order["number"] = schedule.frame.number
    if cell.family != CLOCK:
        return world.parties.begin(**order)
    assert world.clock_parties is not None
    clock_file = world.folder / "clock"
    clock_file.write_text("+0\n")
    jump = int(host_faults.JUMPS_S[cell.fault] * source.choice(DISTANCES_S))
    return world.clock_parties.begin(**order, clock_file=clock_file, jump=jump)


def _told(world: World, party: Party, outcome: Outcome) -> None:
    outcome.applied = party.found("applied") is not None
    for line in party.told:
        if "use" in line:
            world.note(line["use"][0], bytes.fromhex(line["use"][1]))


def _pause_s(schedule: Schedule) -> float:
    return 0.2 if schedule.cell.fault == "paused" else TIMEOUT_S + 1.0


def _moment(schedule: Schedule) -> float:
    """When in a party's life, 0 to 1, for deaths that are not at a frame."""
    return (int(schedule.cell.kind) + random.Random(schedule.seed).random()) / TENTHS


# --- the commands ----------------------------------------------------------------------------------------------------


def _serve_command(world: World, name: str, outcome: Outcome) -> None:
    """`deepreduce serve`, killed while a client prepares and predicts again and again."""
    process, port = world.commands.serve(world.folder / "server" / name)
    killed_at: list[float] = []

    def kill() -> None:
        killed_at.append(time.monotonic())
        process.kill()

    timer = threading.Timer(COMMAND_S * _moment(outcome.schedule), kill)
    timer.start()
    _ask(world, name, outcome, port, lambda: killed_at[0] if killed_at else None)
    timer.join()
    process.wait()
    outcome.applied = True


def _predict_command(world: World, name: str, outcome: Outcome) -> None:
    """`deepreduce predict`, killed at some time after it has connected."""
    store = world.folder / "client" / name
    process = world.commands.predict(world.servers[name][1], store, outcome.schedule.protocol)
    limit = time.monotonic() + CLEAN_S
    while process.poll() is None and not world.events and time.monotonic() < limit:
        time.sleep(0.005)
    connected = bool(world.events)
    time.sleep(COMMAND_S * _moment(outcome.schedule))
    killed_at = time.monotonic()
    process.kill()
    code = process.wait()
    assert process.stdout is not None
    process.stdout.close()
    outcome.ended = "killed" if code == -signal.SIGKILL else "exact" if code == 0 else "error"
    if outcome.ended == "error":
        outcome.failures.append(f"predict ended with {code}: {world.commands.log.read_text()[-300:]}")
    _note_end(world, name, outcome, killed_at if connected else None)
    # Its own process has no tap: what the server began with, a client has named.
    named = set(world.used["client"])
    world.used["client"] += [one for one in world.used["server"] if one not in named]
