"""Parties as processes of their own, which die, stop, or live under a clock that jumps.

Run as a script this is a process without threads that forks a party for every line of JSON on its standard input. What
happens comes back as lines of JSON on its standard output, written at once, so that they outlive a `kill -9`:
{"use": [side, batch id]}, {"port": ...}, {"applied": ...}, {"answer": ...} or {"error": ...}, and at the end
{"status": as waitpid says}.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "support")]

from crash_parties import Points
from deepreduce.errors import DeepReduceError
from deepreduce.inference import Client, Server, ServerSettings, client_context, server_context
from faults.network import DIGEST, PLAN, WEIGHTS, X
from faults.tap import Injection, Tap, tapped

WRITE = os.write  # as it is before points are counted
KILLS = ("killed before", "killed half-way", "killed after")
PAUSES = ("paused", "paused too long")


def tell(**fields: Any) -> None:
    """One line, in one write."""
    WRITE(1, (json.dumps(fields) + "\n").encode())


def act(order: dict[str, Any], tap: Tap, frame: bytearray) -> None:
    """What a process does to itself at the chosen frame."""
    fault = order["fault"]
    tell(applied=fault, at=time.monotonic())
    if fault == "killed half-way":
        tap.forward(frame[: random.Random(order["seed"]).randrange(len(frame))])
    if fault == "killed after":
        tap.forward(frame)
    if fault in KILLS:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault in PAUSES:
        os.kill(os.getpid(), signal.SIGSTOP)
    if order.get("clock_file"):
        Path(order["clock_file"]).write_text(f"{order['jump']:+d}\n")
    tap.forward(frame)


def client(order: dict[str, Any]) -> None:
    """Connects, prepares once, predicts once."""
    tls = client_context(Path(order["authority"])) if order["tls"] else None
    with Client(
        "127.0.0.1",
        order["port"],
        protocol=order["protocol"],
        tls=tls,
        insecure=tls is None,
        pin=DIGEST if order["store"] else None,
        store=order["store"],
        timeout_s=order["timeout_s"],
    ) as party:
        party.prepare(1)
        tell(answer=party.predict_integers(X).tolist())


def server(order: dict[str, Any]) -> None:
    """Serves until it is ended."""
    tls = server_context(Path(order["certificate"]), Path(order["key"])) if order["tls"] else None
    seconds = order["timeout_s"]
    with Server(
        PLAN,
        WEIGHTS,
        ServerSettings(tls=tls, insecure=tls is None, store=order["store"], timeout_s=seconds, idle_s=seconds),
    ) as party:
        tell(port=party.listen())
        party.serve_forever()


def live(order: dict[str, Any]) -> None:
    """A party's life, in a forked process."""
    if order.get("clock_file"):
        os.environ["FAKETIME_TIMESTAMP_FILE"] = order["clock_file"]
    with tapped(lambda side, batch_id: tell(use=[side, batch_id.hex()])) as wiring:
        if "point" in order:
            points = Points(order["point"])
            points.pass_one = _told(points.pass_one, points, order["fault"])  # type: ignore[method-assign]
            points.install()
        elif "number" in order:
            wiring.injection = Injection(order["side"], order["number"], lambda tap, frame: act(order, tap, frame))
        try:
            client(order) if order["side"] == "client" else server(order)
        except DeepReduceError as error:
            tell(error=str(error), type=type(error).__name__)


def _told(pass_one: Any, points: Points, fault: str) -> Any:
    def passing() -> bool:
        if points._count + 1 == points._at:
            tell(applied=fault, at=time.monotonic())
        result: bool = pass_one()
        return result

    return passing


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                live(order)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        tell(pid=pid)
        tell(status=os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
