"""What it costs to know who asks, to count, and to write it down: seconds of a connection, a preparation, a prediction.

    python bench/service/access.py [--rounds 100]

A network of 60 ReLUs, so that little but these costs is left; client and server are threads of one
process over loopback, nothing is stored, counts and audit log lie on the disk of the working directory. The settings
take turns, round by round. Writes bench/results/access_<hardware>_<date>.md.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from deepreduce.inference import Client, Quota, Quotas, Server, ServerSettings, client_context, server_context
from deepreduce.inference.access import add_token, make_certificates

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))
import results_page
from sessions import PLAN, WEIGHTS, X

PHASES = ("connect", "prepare", "predict")
MANY = 10**9


def settings(folder: Path) -> dict[str, tuple[dict, dict]]:
    """Name -> (the server's, the client's): each has what the one before has, and one thing more."""
    ours, tokens = folder / "ours", folder / "tokens"
    make_certificates(ours, ["127.0.0.1"], ["alice"])
    token = add_token(tokens, "alice")
    own = client_context(ours / "authority.pem", ours / "client-alice.pem", ours / "client-alice.key")
    known = {"tls": own, "token": token}
    mutual = {"tls": server_context(ours / "server.pem", ours / "server.key", ours / "clients.pem"), "tokens": tokens}
    limited = Quotas(Quota(predictions=MANY, total=MANY, prepared=MANY, ready=MANY, connections=MANY))
    return {
        "plain TCP": ({}, {}),
        "TLS": (
            {"tls": server_context(ours / "server.pem", ours / "server.key")},
            {"tls": client_context(ours / "authority.pem")},
        ),
        "certificates of both, token": (mutual, known),
        "... images counted on the disk": ({**mutual, "state": folder / "counted"}, known),
        "... quotas of all kinds, asked for": ({**mutual, "state": folder / "limited", "quotas": limited}, known),
        "... audit log": (
            {**mutual, "state": folder / "audited", "quotas": limited, "audit": folder / "audit.log"},
            known,
        ),
    }


def measured(port: int, own: dict) -> list[float]:
    """Seconds of each phase."""
    times = [time.perf_counter()]
    with Client("127.0.0.1", port, insecure="tls" not in own, **own) as client:
        times.append(time.perf_counter())
        client.prepare(1)  # with the set-up, which a connection needs once
        client.prepare(1)
        times.append(time.perf_counter())
        client.prepare(1)
        times.append(time.perf_counter())
        client.predict_integers(X)
        times.append(time.perf_counter())
    seconds = np.diff(times)
    return [float(seconds[0]), float(seconds[2]), float(seconds[3])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no file")
    arguments = parser.parse_args()
    found: dict[str, list[list[float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd())))
        ports = {}
        for name, (theirs, own) in settings(folder).items():
            server = stack.enter_context(Server(PLAN, WEIGHTS, ServerSettings(insecure="tls" not in theirs, **theirs)))
            ports[name] = (server.listen(), own)
            server.start()
        for number in range(arguments.rounds + 2):
            for name, (port, own) in ports.items():
                times = measured(port, own)
                if number >= 2:
                    found.setdefault(name, []).append(times)
    rows = []
    for name, times in found.items():
        cells = []
        for phase in range(len(PHASES)):
            low, middle, high = statistics.quantiles([one[phase] * 1e3 for one in times], n=4)
            cells.append(f"{middle:.1f} ({low:.1f}-{high:.1f})")
        rows.append([name, *cells])
    page = results_page.head("What it costs to know who asks", __doc__.split("\n\n")[2].replace("\n", " ")) + (
        f"Milliseconds, median (quartiles) of {arguments.rounds}.\n\n" + results_page.table(["", *PHASES], rows)
    )
    if arguments.print:
        print(page)
    else:
        target = results_page.path("access", arguments.hardware)
        target.write_text(page)
        print(target)


if __name__ == "__main__":
    main()
