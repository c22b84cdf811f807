"""Client sessions of bench/service/load.py: a process with several, each a thread with a TLS connection of its own.

Takes a JSON command a line, {"do": "connect" | "prepare" | "predict" | "occupy" | "visit" | "close", ...}, and answers
each with a line of JSON. Times are of the monotonic clock, which all processes of a machine share.
"""

import contextlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deepreduce.errors import SessionError
from deepreduce.inference import BusyError, Client, client_context
from deepreduce.inference.client import retry_pause_s

clients: list[Client] = []
AHEAD = 10  # batches that an occupying session prepares before it drops them with its connection


def connection(start: dict) -> Client:
    context = client_context(Path(start["authority"]))
    client = Client("127.0.0.1", start["port"], tls=context, server_name="localhost", timeout_s=300)
    return client


def every(count: int, work) -> dict:
    """Runs ``work(number)`` in as many threads at once; when it began and ended, and all its results in one list."""
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(work, range(count)))
    return {"began": began, "ended": time.monotonic(), "results": results}


def connect(order: dict) -> dict:
    started = every(order["count"], lambda _: clients.append(connection(order)))
    return {"began": started["began"], "ended": started["ended"]}


def prepare(order: dict) -> dict:
    """So many in every session; how often each was told to wait."""

    def session(number: int) -> int:
        client, busy = clients[number], 0
        while client.prepared < order["each"]:
            try:
                client.prepare(1)
            except BusyError as error:
                busy += 1
                time.sleep(retry_pause_s(error))
        return busy

    return every(len(clients), session)


def predict(order: dict) -> dict:
    """Seconds of each prediction, one after the other in every session, ``pause_s`` between two."""

    def session(number: int) -> list[float]:
        client = clients[number]
        x = np.zeros((1, *client.plan.input_shape), np.int64)
        seconds = []
        for _ in range(order["each"]):
            started = time.perf_counter()
            client.predict_integers(x)
            seconds.append(time.perf_counter() - started)
            time.sleep(order.get("pause_s", 0))
        return seconds

    return every(len(clients), session)


def occupy(order: dict) -> dict:
    """Prepares without end until the next line; what is prepared is dropped by connecting again."""
    stop, counts = threading.Event(), [0] * order["count"]

    def session(number: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(BusyError), connection(order) as client:
                for _ in range(AHEAD):
                    client.prepare(1)
                    counts[number] += 1
                    if stop.is_set():
                        return

    threads = [threading.Thread(target=session, args=(number,)) for number in range(order["count"])]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    print(json.dumps({}), flush=True)
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    return {"began": began, "ended": time.monotonic(), "prepared": sum(counts)}


def visit(order: dict) -> dict:
    """Comes, prepares, predicts and goes, ``each`` times; waits whenever the server is busy, for up to ``wait_s``."""

    def session(_: int) -> dict:
        found = {"busy": 0, "errors": 0, "answers": 0, "lost": 0}
        deadline = time.monotonic() + order["wait_s"]

        def patient(work):
            while True:
                try:
                    return work()
                except BusyError as error:
                    found["busy"] += 1
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(retry_pause_s(error))

        try:
            client = patient(lambda: connection(order))
            with client:
                x = np.zeros((1, *client.plan.input_shape), np.int64)
                for done in range(order["each"]):
                    patient(lambda: client.prepare(1))
                    found["lost"] += done + 1 - client.prepared
                for _ in range(order["each"]):
                    client.predict_integers(x)
                    found["answers"] += 1
        except SessionError as error:
            found["errors"] += 1
            print(error, file=sys.stderr, flush=True)
        return found

    return every(order["count"], session)


def close(order: dict) -> dict:
    for client in clients:
        client.close()
    clients.clear()
    return {}


WORK = {"connect": connect, "prepare": prepare, "predict": predict, "occupy": occupy, "visit": visit, "close": close}

if __name__ == "__main__":
    for line in sys.stdin:
        wanted = json.loads(line)
        print(json.dumps(WORK[wanted["do"]](wanted)), flush=True)
