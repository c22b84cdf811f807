"""Where runs take place: long-lived servers, stores on small disks, and processes; one run after the other."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import trustme

from deepreduce.errors import SessionError, StoreError
from deepreduce.private import Client, Server, client_context, server_context

from . import surroundings
from .commands import Commands
from .frames import frames, records_before
from .messages import message_fault
from .network import DIGEST, PLAN, WEIGHTS, X, is_right
from .parties import Parties, Party
from .party import KILLS
from .relay import Relay, WireFault
from .schedule import MOST_POINTS, TENTHS, Schedule, expected, matrix
from .stores import Books, books, complaints
from .surroundings import DISTANCES_S, LEFT, Clocks, FullDisk, small_disk
from .tap import Injection, Tap, tapped

TIMEOUT_S = 3.0  # how long a party waits for its peer
LIMIT_S = 20.0  # from the fault until both sides have ended: two time limits, two lingers, and a busy machine
ATTEMPTS = 3  # at a run in which a time limit was missed although nothing was lost: the machine was too slow
CLEAN_S = 60.0  # for what nothing disturbs
SERVER_BYTES, CLIENT_BYTES = 24 << 20, 16 << 20
ONE_LINE = 300  # characters
SETTLE_S = 0.3  # for threads of the first session to end
COMMAND_S = 1.0  # within which a command is killed
MOST_REPEATS = 1000  # of a client whose server will be killed
CLOCK = "clock of a process"


@dataclass
class Outcome:
    """What came of a run. ``failures``: what must not have happened; empty when all is well."""

    schedule: Schedule
    applied: bool = False
    ended: str = ""  # "exact", "error", "killed"
    error: str = ""
    client_s: float | None = None  # from the fault to the asking party's end
    server_s: float | None = None  # to the end of the server's session
    late: bool = False  # the machine was too slow for a time limit, so the run was repeated
    failures: list[str] = field(default_factory=list)


class World:
    """A context manager. ``mounted``: whether the disks are file systems of their own."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        memory = Path("/dev/shm")
        base = memory if os.access(memory, os.W_OK) else None
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-", dir=base)))
        self.used: dict[str, list[bytes]] = {"client": [], "server": []}  # the ledger
        self.noise: list[str] = []  # what nobody may say
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._baseline = (0, 0)  # threads, descriptors

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self.mounted = all([enter(small_disk(self.folder / side)) for side in ("client", "server")])
        self._disks = {side: FullDisk(self.folder / side) for side in ("client", "server")}
        self._certify()
        self._commands = Commands(self.folder)
        enter(self._listening_to_noise())
        matrix()  # before anything taps
        self._wiring = enter(tapped(self._note))
        self._clocks = Clocks()
        self._stack.callback(self._clocks.close)
        self._log = self.folder / "parties.log"
        self._parties, self._clock_parties = Parties(self._log), None
        self._stack.callback(self._parties.close)
        if surroundings.faketime_library():
            self._clock_parties = Parties(self._log, clock=True)
            self._stack.callback(self._clock_parties.close)
        self._servers = {name: enter(self._server(name)) for name in ("plain", "tls")}
        self._handshake = self._handshake_records()
        time.sleep(SETTLE_S)
        self._baseline = _resources()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, schedule: Schedule) -> Outcome:
        """One run; once more if a time limit was missed that only a busy machine can miss."""
        for attempt in range(ATTEMPTS):
            outcome = self._run(schedule)
            outcome.late = attempt > 0
            if not any("silent for too long" in text for text in outcome.failures):
                break
        return outcome

    def rss_bytes(self) -> int:
        """Memory of this process, which is that of the long-lived servers."""
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _run(self, schedule: Schedule) -> Outcome:
        outcome = Outcome(schedule)
        family, side = schedule.cell.family, schedule.cell.side
        by_process = family in ("kill", "pause", "point") or (family == CLOCK and self._clock_parties is not None)
        name = "tls" if schedule.tls else "plain"
        if side == "server" and (by_process or family == "command"):
            name = "command" if family == "command" else "process"
        self._patience(CLEAN_S)
        with self._serving(name) as port:
            self._stock(schedule, name, port)
        self._patience(TIMEOUT_S)
        before = {side: books(self.folder / side / name) for side in ("client", "server")}
        self._events.clear()
        self._wiring.injection = None
        try:
            if family == "command":
                work = self._serve_command if side == "server" else self._predict_command
                work(schedule, outcome, name)
            elif by_process:
                work = self._server_as_process if side == "server" else self._client_as_process
                work(schedule, outcome, name)
            else:
                self._in_process(schedule, outcome, name)
            self._disks["client"].empty()
            self._disks["server"].empty()
            surroundings.limit_files(None)
            self._patience(CLEAN_S)
            with self._serving(name) as port:
                self._next_one(schedule, outcome, name, port)
                self._settled(name, outcome)
                self._check_stores(name, before, outcome)
        finally:
            self._wiring.injection = None
            self._clocks.reset()
        self._check_ledger(name, outcome)
        self._check_resources(outcome)
        self._check_words(outcome)
        if not outcome.applied and schedule.cell.family != "point":
            outcome.failures.append("the fault did not happen")
        return outcome

    # --- the three ways to run ---------------------------------------------------------------------------------------

    def _in_process(self, schedule: Schedule, outcome: Outcome, name: str) -> None:
        cell, frame, port = schedule.cell, schedule.frame, self._servers[name][1]
        if cell.family == "wire":
            with Relay(port, schedule.tls, self._wire_fault(schedule)) as relay:
                self._ask(schedule, outcome, name, relay.port, lambda: relay.applied_at)
                self._settled(name, outcome, relay.applied_at)
                outcome.applied = relay.applied_at is not None
            return
        injection = self._wiring.injection = Injection(cell.side, frame.number, self._act(schedule))
        self._ask(schedule, outcome, name, port, lambda: injection.applied_at)
        self._settled(name, outcome, injection.applied_at)
        outcome.applied = injection.applied_at is not None

    def _server_as_process(self, schedule: Schedule, outcome: Outcome, name: str) -> None:
        with self._begin(schedule, store=self.folder / "server" / "process") as party:
            port = party.wait_for("port")
            waker = party.continues_after(self._pause_s(schedule)) if schedule.cell.family == "pause" else None
            if port is None:  # died while it was opening its store
                outcome.ended = "killed"
            else:
                self._ask(schedule, outcome, "process", port, lambda: None)
            if waker is not None:
                party.kill()
                waker.join()
        self._told(party, outcome)
        at = party.found("at")
        outcome.client_s = None if at is None or outcome.client_s is None else outcome.client_s - at

    def _client_as_process(self, schedule: Schedule, outcome: Outcome, name: str) -> None:
        store = self.folder / "client" / name if schedule.stored else None
        with self._begin(schedule, store=store, port=self._servers[name][1]) as party:
            waker = party.continues_after(self._pause_s(schedule)) if schedule.cell.family == "pause" else None
            party.wait_for("status", CLEAN_S)
            if waker is not None:
                waker.join()
        self._told(party, outcome)
        status = party.found("status")
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            outcome.ended = "killed"
            if schedule.cell.fault not in KILLS and schedule.cell.family != "point":
                outcome.failures.append("the client was killed by somebody else")
        elif (error := party.found("error")) is not None:
            self._failed_with(outcome, error)
        else:
            self._answered(schedule, outcome, party.found("answer"))
        self._settled(name, outcome, party.found("at"))

    def _serve_command(self, schedule: Schedule, outcome: Outcome, name: str) -> None:
        """`deepreduce serve`, killed while a client prepares and predicts again and again."""
        process, port = self._commands.serve(self.folder / "server" / name)
        killed_at: list[float] = []

        def kill() -> None:
            killed_at.append(time.monotonic())
            process.kill()

        timer = threading.Timer(COMMAND_S * _moment(schedule), kill)
        timer.start()
        self._ask(schedule, outcome, name, port, lambda: killed_at[0] if killed_at else None)
        timer.join()
        process.wait()
        outcome.applied = True

    def _predict_command(self, schedule: Schedule, outcome: Outcome, name: str) -> None:
        """`deepreduce predict`, killed at some time after it has connected."""
        store = self.folder / "client" / name
        process = self._commands.predict(self._servers[name][1], store, schedule.protocol)
        limit = time.monotonic() + CLEAN_S
        while process.poll() is None and not self._events and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(COMMAND_S * _moment(schedule))
        outcome.applied = bool(self._events)
        killed_at = time.monotonic()
        process.kill()
        code = process.wait()
        assert process.stdout is not None
        process.stdout.close()
        outcome.ended = "killed" if code == -signal.SIGKILL else "exact" if code == 0 else "error"
        if outcome.ended == "error":
            outcome.failures.append(f"predict ended with {code}: {self._commands.log.read_text()[-300:]}")
        self._settled(name, outcome, killed_at)
        # Its own process has no tap: what the server began with, a client has named.
        self.used["client"] += [one for one in self.used["server"] if one not in set(self.used["client"])]

    def _begin(self, schedule: Schedule, **more: Any) -> Party:
        cell, source = schedule.cell, random.Random(schedule.seed)
        order = {
            "side": cell.side,
            "fault": cell.fault,
            "protocol": schedule.protocol,
            "tls": schedule.tls,
            "seed": schedule.seed,
            "timeout_s": TIMEOUT_S,
            **{key: self.folder / f"{key}.pem" for key in ("authority", "certificate", "key")},
            **more,
        }
        if cell.family == "point":
            return self._parties.begin(**order, point=1 + int(MOST_POINTS * _moment(schedule)))
        order["number"] = schedule.frame.number
        if cell.family != CLOCK:
            return self._parties.begin(**order)
        clock_file = self.folder / "clock"
        clock_file.write_text("+0\n")
        sign = surroundings.JUMPS_S[cell.fault]
        assert self._clock_parties is not None
        jump = int(sign * source.choice(DISTANCES_S))
        return self._clock_parties.begin(**order, clock_file=clock_file, jump=jump)

    def _ask(self, schedule: Schedule, outcome: Outcome, name: str, port: int, applied_at: Any) -> None:
        """The asking party in this process: connects, prepares, predicts. ``applied_at()``: when the fault was."""
        hung = threading.Event()

        def hang() -> None:
            hung.set()
            for tap in list(self._wiring.live):
                tap.shutdown()

        watchdog = threading.Timer(LIMIT_S + 3 * TIMEOUT_S, hang)
        watchdog.start()
        try:
            with self._client(schedule, name, port, TIMEOUT_S) as client:
                try:
                    client.prepare(1)
                except StoreError:  # no room; what was prepared before may be used, as far as that can be written down
                    if schedule.cell.family != "disk":
                        raise
                y = client.predict_integers(X)
                for _ in range(MOST_REPEATS if schedule.cell.family == "command" else 0):
                    client.prepare(1)
                    y = client.predict_integers(X)
            self._answered(schedule, outcome, y)
        except (SessionError, StoreError) as error:
            self._failed_with(outcome, str(error))
        except Exception as error:
            outcome.failures.append(f"the client raised {type(error).__name__}: {error}")
        finally:
            watchdog.cancel()
            watchdog.join()
        ended = time.monotonic()
        at = applied_at()
        outcome.client_s = ended if name == "process" else None if at is None else ended - at
        if hung.is_set():
            outcome.failures.append("the client hung")

    def _answered(self, schedule: Schedule, outcome: Outcome, y: Any) -> None:
        outcome.ended = "exact"
        if y is None or not is_right(schedule.protocol, np.asarray(y)):
            outcome.failures.append(f"a wrong answer: {y}")
        if expected(schedule) == "error":
            outcome.failures.append("an answer, though an error was due")

    def _failed_with(self, outcome: Outcome, text: str) -> None:
        outcome.ended, outcome.error = "error", text
        if "\n" in text or len(text) > ONE_LINE or "Traceback" in text:
            outcome.failures.append(f"an error that is not one line: {text!r}")
        if expected(outcome.schedule) == "exact":
            outcome.failures.append(f"an error, though nothing was lost: {text}")

    def _told(self, party: Party, outcome: Outcome) -> None:
        outcome.applied = party.found("applied") is not None
        for line in party.told:
            if "use" in line:
                self._note(line["use"][0], bytes.fromhex(line["use"][1]))

    # --- faults ------------------------------------------------------------------------------------------------------

    def _act(self, schedule: Schedule) -> Any:
        cell, source = schedule.cell, random.Random(schedule.seed)
        if cell.family == "message":
            return message_fault(cell.fault, source, TIMEOUT_S)

        def then_send(work: Any) -> Any:
            def act(tap: Tap, frame: bytearray) -> None:
                work()
                tap.forward(frame)

            return act

        left, jump = source.choice(LEFT), source.choice(DISTANCES_S)
        if cell.fault == "disk full" and self.mounted:
            return then_send(lambda: self._disks[cell.side].fill(left))
        if cell.family == "disk":
            return then_send(lambda: surroundings.limit_files(max(left, 1 << 10)))
        return then_send(lambda: self._clocks.jump(cell.fault, surroundings.JUMPS_S.get(cell.fault, 1.0) * jump))

    def _wire_fault(self, schedule: Schedule) -> WireFault:
        source, frame = random.Random(schedule.seed), schedule.frame
        unit = frame.number
        if schedule.tls:
            before = records_before(schedule.protocol, schedule.stored, frame)
            unit = self._handshake[frame.side] + before + source.randrange(frame.records)
        return WireFault(schedule.cell.fault, frame.side, unit, source.random(), schedule.seed)

    def _pause_s(self, schedule: Schedule) -> float:
        return 0.2 if schedule.cell.fault == "paused" else TIMEOUT_S + 1.0

    # --- what must hold afterwards -----------------------------------------------------------------------------------

    def _next_one(self, schedule: Schedule, outcome: Outcome, name: str, port: int) -> None:
        """A fresh connection predicts with what is in the stores, or with what it prepares."""
        try:
            with self._client(schedule, name, port, CLEAN_S, stored=True) as client:
                if not client.prepared:
                    client.prepare(1)
                if not is_right(schedule.protocol, client.predict_integers(X)):
                    outcome.failures.append("the next answer is wrong")
        except Exception as error:
            outcome.failures.append(f"the next prediction failed: {error}")

    def _check_stores(self, name: str, before: dict[str, Books], outcome: Outcome) -> None:
        limit = time.monotonic() + LIMIT_S
        for side in ("client", "server"):
            # Files of used batches are removed by a thread.
            while (found := complaints(self.folder / side / name, before[side])) and time.monotonic() < limit:
                time.sleep(0.05)
            outcome.failures += [f"{side}: {text}" for text in found]
        ready = {side: books(self.folder / side / name).ready for side in ("client", "server")}
        if lost := ready["client"] - ready["server"]:
            outcome.failures.append(f"{len(lost)} batches are ready at the client and not at the server")

    def _check_ledger(self, name: str, outcome: Outcome) -> None:
        for side, used in self.used.items():
            if len(used) != len(set(used)):
                outcome.failures.append(f"a batch was used twice by the {side}")
            if set(used) & books(self.folder / side / name).ready:
                outcome.failures.append(f"a batch that was used is ready at the {side}")
        if not set(self.used["server"]) <= set(self.used["client"]):
            outcome.failures.append("the server used what no client has named")

    def _check_resources(self, outcome: Outcome) -> None:
        limit = time.monotonic() + LIMIT_S
        while _resources() != self._baseline and time.monotonic() < limit:
            time.sleep(0.01)
        if (found := _resources()) != self._baseline:
            outcome.failures.append(f"(threads, descriptors) are {found} and were {self._baseline}")

    def _check_words(self, outcome: Outcome) -> None:
        outcome.failures += self.noise
        self.noise.clear()
        for log in (self._log, self._commands.log):
            said = log.read_text()
            if "Traceback" in said or any(len(line) > 2 * ONE_LINE for line in said.splitlines()):
                outcome.failures.append(f"a process said more than lines: {said[-1000:]}")
            os.truncate(log, 0)
        for event, fields in self._events:
            text = str(fields.get("text", ""))
            if event == "failed":
                outcome.failures.append("the server met an error that it did not expect")
            if "\n" in text or len(text) > ONE_LINE:
                outcome.failures.append(f"the server's log has an error that is not one line: {text!r}")

    def _settled(self, name: str, outcome: Outcome, since: float | None = None) -> None:
        """Waits until the long-lived server has no session any more."""
        if name not in self._servers:
            return
        server = self._servers[name][0]
        limit = time.monotonic() + LIMIT_S
        while server._sockets and time.monotonic() < limit:
            time.sleep(0.002)
        if server._sockets:
            outcome.failures.append("the server's session has not ended")
        if since is not None:
            outcome.server_s = time.monotonic() - since

    # --- parts -------------------------------------------------------------------------------------------------------

    def _client(
        self, schedule: Schedule, name: str, port: int, timeout_s: float, stored: bool | None = None
    ) -> Client:
        stored = schedule.stored if stored is None else stored
        return Client(
            "127.0.0.1",
            port,
            protocol=schedule.protocol,  # type: ignore[arg-type]
            tls=self._client_tls if schedule.tls and not self._reopened else None,
            pin=DIGEST if stored else None,
            store=self.folder / "client" / name if stored else None,
            timeout_s=timeout_s,
        )

    @contextlib.contextmanager
    def _server(self, name: str) -> Iterator[tuple[Server, int]]:
        with Server(
            PLAN,
            WEIGHTS,
            tls=self._server_tls if name == "tls" else None,
            store=self.folder / "server" / name,
            timeout_s=CLEAN_S,
            idle_s=CLEAN_S,
            max_stored_bytes=SERVER_BYTES,
            max_client_bytes=CLIENT_BYTES,
            observers=(lambda event, fields: self._events.append((event, fields)),),
        ) as server:
            port = server.listen()
            thread = server.start()
            yield server, port
        thread.join()

    _reopened = False

    @contextlib.contextmanager
    def _serving(self, name: str) -> Iterator[int]:
        """The port of a long-lived server, or of one (without TLS) that reopens the store of a process."""
        if name in self._servers:
            yield self._servers[name][1]
            return
        self._reopened = True
        try:
            with self._server(name) as (_, port):
                yield port
        finally:
            self._reopened = False

    def _stock(self, schedule: Schedule, name: str, port: int) -> None:
        """Two batches at least wait in the stores."""
        with self._client(schedule, name, port, CLEAN_S, stored=True) as client:
            if client.prepared < 2:
                client.prepare(3)

    def _patience(self, seconds: float) -> None:
        """How long the long-lived servers wait for clients that connect from now on."""
        for server, _ in self._servers.values():
            server._timeout_s = server.idle_s = seconds

    def _handshake_records(self) -> dict[str, int]:
        """TLS records of each side before its first frame."""
        port = self._servers["tls"][1]
        with Relay(port, True, None) as relay:
            with Client("127.0.0.1", relay.port, tls=self._client_tls, protocol="delphi") as client:
                client.prepare(1)
                client.predict_integers(X)
            limit = time.monotonic() + LIMIT_S
            while self._servers["tls"][0]._sockets and time.monotonic() < limit:
                time.sleep(0.01)
            time.sleep(0.05)
            whole = {s: sum(f.records for f in frames("delphi", False) if f.side == s) for s in ("client", "server")}
            return {side: relay.units[side] - whole[side] for side in whole}

    def _certify(self) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        names = {key: self.folder / f"{key}.pem" for key in ("authority", "certificate", "key")}
        authority.cert_pem.write_to_path(names["authority"])
        issued.cert_chain_pems[0].write_to_path(names["certificate"])
        issued.private_key_pem.write_to_path(names["key"])
        self._client_tls = client_context(names["authority"])
        self._server_tls = server_context(names["certificate"], names["key"])

    def _note(self, side: str, batch_id: bytes) -> None:
        self.used[side].append(batch_id)

    @contextlib.contextmanager
    def _listening_to_noise(self) -> Iterator[None]:
        """Errors with a traceback, in the log or of a thread, are failures; other log lines go nowhere."""
        world = self

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.exc_info:
                    world.noise.append(f"a traceback in the log: {record.getMessage()}: {record.exc_info[1]!r}")
                elif "\n" in record.getMessage():
                    world.noise.append(f"a log entry of several lines: {record.getMessage()!r}")

        logger, listener = logging.getLogger("deepreduce"), Listener()
        level, propagate = logger.level, logger.propagate
        thread_hook, other_hook = threading.excepthook, sys.unraisablehook
        logger.addHandler(listener)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        threading.excepthook = lambda found: self.noise.append(f"a thread died: {found.exc_value!r}")
        sys.unraisablehook = lambda found: self.noise.append(f"an error that nobody saw: {found.exc_value!r}")
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = thread_hook, other_hook
            logger.removeHandler(listener)
            logger.setLevel(level)
            logger.propagate = propagate


def _moment(schedule: Schedule) -> float:
    """When in a party's life, 0 to 1, for deaths that are not at a frame."""
    return (int(schedule.cell.kind) + random.Random(schedule.seed).random()) / TENTHS


def _resources() -> tuple[int, int]:
    return threading.active_count(), len(os.listdir("/proc/self/fd"))
