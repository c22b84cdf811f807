"""Seconds of one layer of 2^10 to 2^20 ReLUs, online and offline: is the cost linear?

    python bench/core/scaling.py [--least 10 --most 20] [--inferences 3] [--protocol ot delphi]

Each plan is a 1x1 convolution to a number of 32x32 maps, their ReLUs, and a sum over each map. Writes
bench/results/scaling_<hardware>_<date>.md and .svg.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from deepreduce.benchmark import BenchOptions, bench

sys.path.insert(0, str(Path(__file__).parents[1]))
import results_page
from layers import write_relus


def draw(path: Path, results: list[dict]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "deepreduce"  # the same picture is the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.4), layout="constrained")
    for protocol, color in (("ot", "#1f6f8b"), ("delphi", "#c0562b")):
        chosen = [result for result in results if result["protocol"] == protocol]
        for phase, style in (("online", "-"), ("offline", "--")):
            x, y = [r["relus"] for r in chosen], [r[phase]["seconds"] for r in chosen]
            if x:
                low, high = ([r["spread"][phase][i] for r in chosen] for i in (0, 1))
                axes.plot(x, y, style, marker="o", markersize=4, color=color, label=f"{protocol} {phase}")
                axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    relus = np.array(sorted({result["relus"] for result in results}))
    axes.plot(relus, 1e-6 * relus, color="grey", linewidth=1, label="1 us per ReLU")
    axes.set(xscale="log", yscale="log", xlabel="ReLUs", ylabel="seconds")
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def slopes(results: list[dict]) -> str:
    """Microseconds per ReLU where fixed costs no longer matter, and how straight the line is there."""
    lines = []
    for protocol in dict.fromkeys(result["protocol"] for result in results):
        for phase in ("online", "offline"):
            chosen = [r for r in results if r["protocol"] == protocol]
            upper = [(r["relus"], r[phase]["seconds"]) for r in chosen[len(chosen) // 2 :]]
            if len(upper) > 1:
                x, y = np.log(np.array(upper)).T
                slope = np.polyfit(x, y, 1)[0]
                last = 1e6 * upper[-1][1] / upper[-1][0]
                lines.append(
                    f"{protocol} {phase}: seconds grow as ReLUs to the power {slope:.2f}; {last:.3f} us each at last"
                )
    return "\n".join(f"- {line}" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=int, default=10, help="log2 of the fewest ReLUs, at least 10")
    parser.add_argument("--most", type=int, default=20)
    parser.add_argument("--inferences", type=int, default=3)
    parser.add_argument("--protocol", nargs="+", default=["ot", "delphi"])
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    arguments = parser.parse_args()
    results = []
    for exponent in range(arguments.least, arguments.most + 1):
        with tempfile.TemporaryDirectory() as name:
            write_relus(Path(name), 2**exponent)
            for protocol in arguments.protocol:
                results.append(bench(Path(name), BenchOptions(protocol, arguments.inferences)))
                print(
                    protocol, exponent, results[-1]["online"]["seconds"], results[-1]["offline"]["seconds"], flush=True
                )
    rows = [
        [
            f"{r['relus']:,} {r['protocol']}",
            f"{r['online']['seconds']:.4f} ({r['spread']['online'][0]:.4f} to {r['spread']['online'][1]:.4f})",
            f"{1e6 * r['online']['seconds'] / r['relus']:.3f}",
            f"{r['offline']['seconds']:.4f} ({r['spread']['offline'][0]:.4f} to {r['spread']['offline'][1]:.4f})",
            f"{1e6 * r['offline']['seconds'] / r['relus']:.3f}",
            f"{r['peak_rss_bytes']['client'] / 1e6:.0f} / {r['peak_rss_bytes']['server'] / 1e6:.0f}",
        ]
        for r in results
    ]
    headers = ["ReLUs, protocol", "online s", "us each", "offline s", "us each", "peak MB client / server"]
    table = results_page.table(headers, rows) + "\n" + slopes(results) + "\n"
    print(table)
    if not arguments.print:
        page = results_page.path("scaling", arguments.hardware)
        about = f"""One layer of ReLUs between two processes on one machine, one thread each; medians of
{arguments.inferences} inference(s) (minimum to maximum). Shares of the convolution included.

![seconds against ReLUs]({page.with_suffix(".svg").name})"""
        page.write_text(results_page.head("Scaling in the number of ReLUs", about) + table)
        draw(page.with_suffix(".svg"), results)
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
