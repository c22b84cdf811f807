"""Private ResNet18 at the five points of the paper's range, both protocols, three networks: one run each, one table.

    python bench/service/private.py [--network none lan wan] [--protocol ot delphi] [--relus 114688 ...]
                                    [--inferences 5] [--unmerged]

Plans have random weights of trained range (`deepreduce.export.synthetic`); --unmerged leaves linear layers apart, and
rescales where a ReLU was.
Writes bench/results/private_<hardware>_<date>.md and, beside it, all measurements as JSON.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from deepreduce.benchmark import BenchOptions, bench
from deepreduce.export import plan_of
from deepreduce.plan import write_plan, write_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
from private_figure import draw

import results_page

POINTS = {
    557_056: "full",
    229_376: "S2+S3+S4",
    114_688: "S2^RT+S3^RT+S4^RT",
    28_672: "S2^RT+S3^RT+S4^RT, rho=0.5",
    12_288: "S2^RT+S3^RT, alpha=0.5, rho=0.5",
}
ABOUT = """Client and server are two processes on one machine; lan is 1 Gb/s and 1 ms round trip, wan 100 Mb/s and 40
ms, by a relay process of our own. Seconds are medians of {inferences} inference(s) (minimum to maximum). us/ReLU is the
wall time of the online ReLU operations, transfer included, over the ReLUs; its floor the slowest of AES, memory and
transfer, measured in the same run (src/deepreduce/benchmark/roofline.py). Rescales: elements, and their seconds online.
Errors are in units of the last place of the output, whose largest value stands beside. Peak memory is the processes'
own, one-time material included."""


def row(result: dict) -> list[str]:
    def seconds(phase: str) -> str:
        low, high = result["spread"][phase]
        return f"{result[phase]['seconds']:.3f} ({low:.3f} to {high:.3f})"

    def megabytes(phase: str) -> str:
        exact = all(
            result[phase][key] == result[phase][f"predicted_{key}"] for key in ("down_bytes", "up_bytes", "rounds")
        )
        sizes = " / ".join(f"{result[phase][f'{way}_bytes'] / 1e6:.1f}" for way in ("down", "up"))
        return f"{sizes}, {result[phase]['rounds']}" + ("" if exact else " (NOT as predicted)")

    us, floor, memory = result["us_per_relu"], result["floor_us_per_relu"], result["peak_rss_bytes"]
    return [
        f"{result['relus']:,} {result['protocol']} {result['network']}",
        seconds("online"),
        seconds("offline"),
        megabytes("online"),
        megabytes("offline"),
        f"{us:.3f}",
        f"{floor:.3f}",
        f"{us / floor:.2f}",
        f"{result['rescale']['elements']:,}, {result['rescale']['seconds']:.3f}",
        f"{result['max_error_lsb']:,} of {result['output_peak_lsb']:,}",
        f"{memory['client'] / 1e6:.0f} / {memory['server'] / 1e6:.0f}",
        f"{result['setup']['model_seconds']:.2f} / {result['setup']['connection_seconds']:.2f}",
    ]


HEADERS = ["ReLUs, protocol, network", "online s", "offline s", "online MB down / up, rounds"]
HEADERS += ["offline MB down / up, rounds", "us/ReLU", "floor", "ratio", "rescaled, s", "error", "MB client / server"]
HEADERS += ["set-up s model / connection"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relus", type=int, nargs="+", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--protocol", nargs="+", default=["ot", "delphi"])
    parser.add_argument("--network", nargs="+", default=["none", "lan", "wan"])
    parser.add_argument("--inferences", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--unmerged", action="store_true", help="no linear layers are composed")
    parser.add_argument("--width", type=float, default=1.0, help="channels of ResNet18, for a quick look")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    arguments = parser.parse_args()
    results = []
    for relus in arguments.relus:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan, weights = plan_of("resnet18", POINTS[relus], width=arguments.width, merge=not arguments.unmerged)
            write_plan(folder / "plan.json", plan)
            write_weights(folder / "weights.safetensors", plan, weights)
            del weights
            for protocol in arguments.protocol:
                for network in arguments.network:
                    options = BenchOptions(protocol, arguments.inferences, network, arguments.threads)
                    result = {
                        "model": "resnet18",
                        "point": POINTS[relus],
                        "merged": not arguments.unmerged,
                        **bench(folder, options),
                    }
                    results.append(result)
                    print(" | ".join(row(result)), flush=True)
    table = results_page.table(HEADERS, list(map(row, results)))
    if arguments.print:
        print(table)
        return
    page = results_page.path("private-unmerged" if arguments.unmerged else "private", arguments.hardware)
    about = ABOUT.format(inferences=arguments.inferences)
    page.write_text(results_page.head(f"Private ResNet18, {'un' * arguments.unmerged}merged", about) + table)
    page.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    draw(page.with_suffix(".svg"), results, arguments.protocol[0])
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
