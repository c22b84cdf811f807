"""Each non-linear op alone, both protocols: microseconds and bytes per element, and the ratio to the loopback's rate.

    python bench/core/nonlinear.py [--inferences 5]

Each plan is a 1x1 convolution to 64 maps of 32x32, the op, and a 1x1 convolution. Elements are comparisons, or what is
rescaled. Writes bench/results/nonlinear_<hardware>_<date>.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from deepreduce.benchmark import BenchOptions, bench
from deepreduce.plan import MaxPool, Relu, Rescale

sys.path.insert(0, str(Path(__file__).parents[1]))
import results_page
from layers import write_nonlinear

OPS = {
    "Relu": Relu("op", ("conv",), 0, 0, 0),
    "Rescale": Rescale("op", ("conv",), 0, 0),
    "MaxPool 2x2, stride 2": MaxPool("op", ("conv",), (2, 2), (2, 2), (0,) * 4, 0, 0),
    "MaxPool 3x3, stride 2": MaxPool("op", ("conv",), (3, 3), (2, 2), (1,) * 4, 0, 0),
}
ABOUT = """Client and server are two processes on one machine, one thread each; medians of {inferences} inferences.
Online seconds are those of the op alone, at the server, waiting for the client included; bytes are measured and equal
the prediction. The floor is the time that the op's online bytes take over loopback, measured in the same run."""
HEADERS = ["op, protocol", "elements", "online us", "floor us", "ratio", "online B down / up", "offline B", "rounds"]


def row(name: str, result: dict) -> list[str]:
    op = next(op for op in result["ops"] if op["name"] == "op")
    elements = op["relus"] + op["rescales"]
    for phase in ("online", "offline"):
        for way in ("down_bytes", "up_bytes"):
            assert op[phase][way] == op[phase][f"predicted_{way}"], (name, phase, way)
    sent = {phase: [op[phase][f"{way}_bytes"] / elements for way in ("down", "up")] for phase in ("online", "offline")}
    floor = 1e6 * sum(sent["online"]) / result["floors"]["rates_per_second"]["loopback_bytes"]
    us = 1e6 * op["online"]["seconds"] / elements
    return [
        f"{name}, {result['protocol']}",
        f"{elements:,}",
        f"{us:.3f}",
        f"{floor:.3f}",
        f"{us / floor:.1f}",
        *(" / ".join(f"{each:.1f}" for each in sent[phase]) for phase in ("online", "offline")),
        str(op["online"]["predicted_rounds"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inferences", type=int, default=5)
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no file")
    arguments = parser.parse_args()
    rows = []
    for name, op in OPS.items():
        with tempfile.TemporaryDirectory() as folder:
            write_nonlinear(Path(folder), op)
            for protocol in ("ot", "delphi"):
                rows.append(row(name, bench(Path(folder), BenchOptions(protocol, arguments.inferences))))
                print(" | ".join(rows[-1]), flush=True)
    table = results_page.table(HEADERS, rows)
    print(table)
    if not arguments.print:
        page = results_page.path("nonlinear", arguments.hardware)
        page.write_text(
            results_page.head("Non-linear ops one by one", ABOUT.format(inferences=arguments.inferences)) + table
        )
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
