"""Many clients of one server, over TLS on loopback: throughput, latencies, memory, workers, overload; one table each.

    python bench/service/load.py [--sessions 1 4 16 64] [--repeats 3] [--relus 12288]
                                 [--workers 1] [--json FILE] [--print]

Every session is a connection of its own, from up to four client processes (load_client.py); the server is a process
with its workers (load_server.py). The plan is ResNet18 with random weights of trained range
(`deepreduce.export.synthetic`).
Writes bench/results/load_<hardware>_<date>.md and, beside it, all measurements as JSON.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from private import POINTS

from deepreduce.benchmark import linear_floor_s, measure_rates, relu_floor
from deepreduce.export import plan_of
from deepreduce.plan import predict, read_plan, write_plan, write_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
import results_page

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
PREDICTIONS = 48  # of a level, shared by its sessions
MOST_EACH = 48  # that a session prepares
PROCESSES = 4  # of clients
PAUSE_S, PACED = 0.03, 40  # between predictions of the session whose latency is watched, and how many
OCCUPIED = (0, 1, 4)  # sessions that prepare meanwhile
ABOUT = """Server, its workers and all clients are on these cores, so rates are the machine's, not the server's: a
client works more than its server, whose own part is the CPU time. Load average before and after, from everything that
ran: {load}. Medians of {repeats} repeat(s), minimum to maximum in brackets. Latencies are what clients saw from image
to answer, all repeats together. *Floor*: what AES, memory, loopback and multiply-adds of this run allow one prediction
(src/deepreduce/benchmark/roofline.py), TLS not counted."""


class Group:
    """A process tree: its CPU seconds and memory."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
        return found

    def cpu_s(self, pid: int) -> float:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK
        return 0.0

    def all_cpu_s(self) -> dict[int, float]:
        return {pid: self.cpu_s(pid) for pid in self.pids()}

    def bytes(self, pid: int, field: str) -> int:
        """A field of smaps_rollup: Rss, Pss or Private_Dirty."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    return 1024 * int(line.split()[1])
        return 0


class Talker:
    """A process that takes a line of JSON and answers with one."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def tell(self, order: dict) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def server(folder: Path, **settings):
    """(process tree, what clients need to connect)."""
    with Talker(str(HERE / "load_server.py"), str(folder), json.dumps(settings)) as process:
        port = process.answer()["port"]
        yield Group(process.process.pid), {"port": port, "authority": str(folder / "authority.pem")}


@contextlib.contextmanager
def clients(count: int):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Talker(str(HERE / "load_client.py"))) for _ in range(count)]


def ask(talkers: list[Talker], orders: list[dict]) -> tuple[float, list]:
    """Seconds from the first's beginning to the last's end, and all results."""
    for talker, order in zip(talkers, orders, strict=True):
        talker.tell(order)
    answers = [talker.answer() for talker in talkers]
    wall_s = max(a["ended"] for a in answers) - min(a["began"] for a in answers)
    return wall_s, [result for a in answers for result in a.get("results", [])]


def shares(count: int, parts: int) -> list[int]:
    return [count // parts + (number < count % parts) for number in range(parts)]


def level(folder: Path, sessions: int, workers: int) -> dict:
    """One level, once: connect, prepare, predict."""
    each, parts = min(MOST_EACH, max(2, PREDICTIONS // sessions)), min(sessions, PROCESSES)
    with server(folder, workers=workers, max_sessions=2 * sessions) as (tree, start), clients(parts) as talkers:
        empty = tree.bytes(tree.pid, "Rss")
        ask(talkers, [{"do": "connect", "count": n, **start} for n in shares(sessions, parts)])
        connected = tree.bytes(tree.pid, "Rss")
        before = tree.all_cpu_s()
        prepare_s, busy = ask(talkers, [{"do": "prepare", "each": each}] * parts)
        after = tree.all_cpu_s()
        prepared = tree.bytes(tree.pid, "Rss")
        nursery = tree.pids()[1:2]
        forked = [pid for pid in after if pid not in before]
        shared = sum(tree.bytes(pid, "Rss") for pid in nursery)
        private = [tree.bytes(pid, "Private_Dirty") for pid in forked]
        started = tree.cpu_s(tree.pid)
        predict_s, latencies = ask(talkers, [{"do": "predict", "each": each}] * parts)
        online_s = tree.cpu_s(tree.pid) - started
    total = sessions * each
    return {
        "predictions_per_s": total / predict_s,
        "latencies_s": [seconds for session in latencies for seconds in session],
        "preparations_per_s": total / prepare_s,
        "busy": sum(busy),
        "online_cpu_s": online_s / total,
        "offline_server_cpu_s": (after[tree.pid] - before[tree.pid]) / total,
        "offline_worker_cpu_s": sum(after[pid] for pid in forked) / total,
        "session_bytes": (connected - empty) / sessions,
        "prepared_bytes": (prepared - connected) / total,
        "worker_bytes": median(private) if private else 0,
        "server_bytes": prepared,
        "nursery_bytes": shared,
    }


def beside(folder: Path, workers: int, occupied: int) -> dict:
    """The latencies of one session while others prepare."""
    with server(folder, workers=workers) as (_, start), clients(2) as (watched, busy):
        ask([watched], [{"do": "connect", "count": 1, **start}])
        ask([watched], [{"do": "prepare", "each": PACED}])
        if occupied:
            busy.tell({"do": "occupy", "count": occupied, **start})
            busy.answer()
            time.sleep(1.0)
        _, latencies = ask([watched], [{"do": "predict", "each": PACED, "pause_s": PAUSE_S}])
        rate = 0.0
        if occupied:
            wall_s, prepared = finish(busy)
            rate = prepared / wall_s
    return {"latencies_s": latencies[0][2:], "preparations_per_s": rate}


def finish(talker: Talker) -> tuple[float, int]:
    talker.tell({})
    answer = talker.answer()
    return answer["ended"] - answer["began"], answer["prepared"]


def overload(folder: Path, workers: int, most: int) -> dict:
    """Sessions that hold something and are quiet, and four times as many clients as there is room for."""
    holders, visitors, each = most // 2, 4 * most, 3
    with server(folder, workers=workers, max_sessions=most) as (tree, start), clients(3) as (held, *others):
        ask([held], [{"do": "connect", "count": holders, **start}])
        ask([held], [{"do": "prepare", "each": 1}])
        quiet = tree.bytes(tree.pid, "Rss")
        orders = [{"do": "visit", "count": n, "each": each, "wait_s": 300, **start} for n in shares(visitors, 2)]
        wall_s, found = ask(others, orders)
        loaded = tree.bytes(tree.pid, "Rss")
        _, kept = ask([held], [{"do": "predict", "each": 1}])
    totals = {name: sum(one[name] for one in found) for name in ("busy", "errors", "answers", "lost")}
    return {
        **totals,
        "max_sessions": most,
        "visitors": visitors,
        "wanted": visitors * each,
        "seconds": wall_s,
        "holders": holders,
        "holders_answered": sum(map(len, kept)),
        "quiet_bytes": quiet,
        "loaded_bytes": loaded,
    }


def write_plan_folder(folder: Path, point: str, width: float) -> None:
    import trustme

    plan, weights = plan_of("resnet18", point, width=width)
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")


def ms(seconds: list[float]) -> str:
    return " / ".join(f"{1e3 * value:.1f}" for value in np.percentile(seconds, [50, 90, 99]))


def spread(values: list[float], digits: int = 1) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def of(repeats: list[dict], name: str, unit: float = 1.0) -> list[float]:
    return [repeat[name] / unit for repeat in repeats]


def pooled(repeats: list[dict]) -> list[float]:
    return [seconds for repeat in repeats for seconds in repeat["latencies_s"]]


def level_row(sessions: int, repeats: list[dict]) -> list[str]:
    return [
        str(sessions),
        spread(of(repeats, "predictions_per_s")),
        ms(pooled(repeats)),
        f"{median(of(repeats, 'online_cpu_s', 1e-3)):.1f}",
        f"{spread(of(repeats, 'preparations_per_s'))}, {median(of(repeats, 'busy')):.0f}",
        " + ".join(f"{median(of(repeats, f'offline_{who}_cpu_s', 1e-3)):.0f}" for who in ("server", "worker")),
        " / ".join(f"{median(of(repeats, name, 1e6)):.2f}" for name in ("session_bytes", "prepared_bytes")),
        f"{median(of(repeats, 'worker_bytes', 1e6)):.1f}",
        " + ".join(f"{median(of(repeats, f'{who}_bytes', 1e6)):.0f}" for who in ("server", "nursery")),
    ]


LEVELS = ["sessions", "predictions/s", "latency ms p50 / p90 / p99", "server CPU ms each", "preparations/s, times busy"]
LEVELS += [
    "CPU ms each, server + worker",
    "server MB: session / prepared batch",
    "MB of each worker",
    "MB of server + nursery",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--relus", type=int, default=12_288, choices=list(POINTS))
    parser.add_argument("--width", type=float, default=1.0, help="channels of ResNet18, for a quick look")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--max-sessions", type=int, default=8, help="of the overloaded server")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--json", type=Path, help="write all measurements here, and no page")
    parser.add_argument("--print", action="store_true", help="print the tables, write no files")
    arguments = parser.parse_args()
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_plan_folder(folder, POINTS[arguments.relus], arguments.width)
        result = measure(folder, arguments)
    load.append(os.getloadavg()[0])
    result["load_average"] = load
    shown = tables(result, arguments)
    print(shown)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    elif not arguments.print:
        page = results_page.path("load", arguments.hardware)
        about = ABOUT.format(load=" and ".join(f"{value:.1f}" for value in load), repeats=arguments.repeats)
        page.write_text(results_page.head(f"Many clients, {arguments.relus:,} ReLUs", about) + shown)
        page.with_suffix(".json").write_text(json.dumps(result) + "\n")
        print(f"wrote {page}")


def measure(folder: Path, arguments: argparse.Namespace) -> dict:
    plan = read_plan(folder / "plan.json")
    rates = measure_rates(plan.ring.ring_bits)
    floor_s = 1e-6 * relu_floor(plan, rates).floor_us * predict(plan).total.relus + linear_floor_s(plan, rates)
    levels: dict[int, list[dict]] = {sessions: [] for sessions in arguments.sessions}
    watched: dict[str, list[dict]] = {f"{w} {n}": [] for n in OCCUPIED for w in (0, arguments.workers)}
    for number in range(arguments.repeats):  # in turn, so that a machine whose speed drifts does not bend them
        for sessions, found in levels.items():
            found.append(level(folder, sessions, arguments.workers))
            print(f"repeat {number + 1}, {sessions} sessions", file=sys.stderr, flush=True)
        for key, found in watched.items():
            found.append(beside(folder, *map(int, key.split())))
            print(f"repeat {number + 1}, workers and preparing sessions {key}", file=sys.stderr, flush=True)
    full = overload(folder, arguments.workers, arguments.max_sessions)
    return {"relus": arguments.relus, "floor_s": floor_s, "levels": levels, "beside": watched, "overload": full}


def tables(result: dict, arguments: argparse.Namespace) -> str:
    parts = [f"## Sessions, {arguments.workers} worker(s)\n"]
    parts.append(results_page.table(LEVELS, [level_row(n, found) for n, found in result["levels"].items()]))
    if 1 in result["levels"]:
        best = [median(repeat["latencies_s"]) for repeat in result["levels"][1]]
        ratio = spread([seconds / result["floor_s"] for seconds in best])
        parts.append(f"One session's median latency over the floor of {1e3 * result['floor_s']:.2f} ms: {ratio}.\n")
    parts.append("## One session's latency while others prepare\n")
    rows = []
    for key, found in result["beside"].items():
        workers, occupied = map(int, key.split())
        each = spread([1e3 * median(repeat["latencies_s"]) for repeat in found])
        rate = spread(of(found, "preparations_per_s"))
        where = f"{workers} worker(s)" if workers else "in the server"
        rows.append([f"{occupied}, {where}", ms(pooled(found)), each, rate])
    headers = ["preparing sessions", "latency ms p50 / p90 / p99", "p50 of each repeat", "preparations/s"]
    parts.append(results_page.table(headers, rows))
    o = result["overload"]
    parts.append(
        f"""## Overload

{o["visitors"]} clients at once where {o["max_sessions"]} sessions fit, of which {o["holders"]} are taken by sessions
that hold something prepared in memory and are quiet. Each comes, prepares 3, predicts 3 and goes, and waits when it is
told to: {o["answers"]} of {o["wanted"]} answers in {o["seconds"]:.0f} s, {o["busy"]} times busy, {o["errors"]} errors,
{o["lost"]} prepared batches lost; {o["holders_answered"]} of {o["holders"]} quiet sessions predict afterwards with
what they had. Server memory {o["quiet_bytes"] / 1e6:.0f} MB before, {o["loaded_bytes"] / 1e6:.0f} MB after.
"""
    )
    return "\n".join(parts)


if __name__ == "__main__":
    main()
