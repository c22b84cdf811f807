"""Do savings arrive? Online time and bytes as ReLUs are removed: whole layers, whole channels, elements at random.

    python bench/service/savings.py [--inferences 5] [--steps 1 0.75 0.5 0.25 0.125 ...] [--protocol ot]

ResNet18 on 32x32 images, 100 classes, random weights. Nothing is merged and every removed ReLU leaves its shift behind,
so that all networks are equal but for which ReLUs are kept. Writes bench/results/savings_<hardware>_<date>.md, .json
and .svg.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from deepreduce.benchmark import BenchOptions, bench, measure_rates

sys.path.insert(0, str(Path(__file__).parents[1]))
from savings_figure import draw

import results_page
from masks import WAYS, masks_of, network, relu_shapes, write_masked

STEPS = [1, 0.75, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.016]
NAMES = {"resnet18": "ResNet18", "resnet34": "ResNet34"}
QUANTITIES = {"online_s": ("online time", 1e6, "us"), "online_bytes": ("online bytes", 1, "B")}
ABOUT = """{model}, {image}x{image} images, {classes} classes, {protocol}; client and server are two processes on one
machine over loopback, one thread each; medians of {inferences} inferences (minimum to maximum). Bytes are both ways.
A removed ReLU leaves a shift (`Rescale`, or a removed element of a `Relu`); nothing is merged: the networks differ in
which ReLUs are kept, and in nothing else. Layers: the largest that fit the count, others whole removed. Channels: the
same part of every layer. Elements: at random over the whole network.

![Online time and bytes against ReLUs kept]({figure})"""


def measure(arguments: argparse.Namespace) -> list[dict]:
    """A record for each way and step, from all ReLUs down."""
    lowered = network(arguments.model, arguments.width, arguments.image, arguments.classes)
    shapes = relu_shapes(lowered)
    everything = sum(int(np.prod(shape)) for shape in shapes.values())
    # What layers can do, the other ways do as well: all three at equal counts.
    layers = [masks_of("layers", shapes, round(step * everything)) for step in arguments.steps]
    counts = dict.fromkeys(int(sum(mask.sum() for mask in masks.values())) for masks in layers)
    rates, records = measure_rates(), []
    for count in (count for count in counts if count):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as name:
                write_masked(Path(name), lowered, masks_of(way, shapes, count))
                options = BenchOptions(arguments.protocol, arguments.inferences)
                records.append(record(way, bench(Path(name), options, rates=rates)))
                print(" | ".join(row(records[-1])), flush=True)
    return records


def record(way: str, result: dict) -> dict:
    online, offline = result["online"], result["offline"]
    for phase in (online, offline):
        for key in ("down_bytes", "up_bytes", "rounds"):
            assert phase[key] == phase[f"predicted_{key}"], (way, result["relus"], key)
    return {
        "way": way,
        "relus": result["relus"],
        "rescaled": result["rescale"]["elements"],
        "online_s": online["seconds"],
        "online_spread_s": result["spread"]["online"],
        "online_bytes": online["down_bytes"] + online["up_bytes"],
        "offline_s": offline["seconds"],
        "offline_bytes": offline["down_bytes"] + offline["up_bytes"],
        "rounds": online["rounds"],
        "inferences": result["inferences"],
        "protocol": result["protocol"],
    }


def line(records: list[dict], quantity: str) -> dict[str, float]:
    """The straight line through a quantity against ReLUs, and how much of its variance the line explains."""
    x, y = (np.array([r[key] for r in records], dtype=float) for key in ("relus", quantity))
    slope, intercept = np.polyfit(x, y, 1)
    residual, spread = y - (slope * x + intercept), y - y.mean()
    explained = 1 - float(residual @ residual) / float(spread @ spread) if spread.any() else 1.0
    return {"slope": float(slope), "intercept": float(intercept), "r_squared": explained}


def fits(records: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Lines by quantity, of each way and of all together."""
    chosen = {way: [r for r in records if r["way"] == way] for way in WAYS} | {"all": records}
    return {quantity: {way: line(rows, quantity) for way, rows in chosen.items()} for quantity in QUANTITIES}


def ratios(records: list[dict], quantity: str = "online_s") -> list[float]:
    """What random elements take of what layers take, at each count where both remove something."""
    layers = {r["relus"]: r[quantity] for r in records if r["way"] == "layers" and r["rescaled"]}
    return [r[quantity] / layers[r["relus"]] for r in records if r["way"] == "elements" and r["relus"] in layers]


def statements(records: list[dict]) -> list[str]:
    """The findings in sentences."""
    found, lines = fits(records), []
    for quantity, (name, unit, shown) in QUANTITIES.items():
        for way, fit in found[quantity].items():
            constant = 1e3 * fit["intercept"] if quantity == "online_s" else fit["intercept"] / 1e6
            lines.append(
                f"{name}, {way}: {unit * fit['slope']:.3f} {shown} per ReLU plus {constant:.2f} "
                f"{'ms' if quantity == 'online_s' else 'MB'}, R^2 {fit['r_squared']:.4f}"
            )
    compared = ratios(records)
    if compared:
        lines.append(
            f"random elements at the count of whole layers: {np.median(compared):.3f} times their online time in the "
            f"median, {min(compared):.3f} to {max(compared):.3f}"
        )
    return lines


def row(r: dict) -> list[str]:
    low, high = r["online_spread_s"]
    return [
        r["way"],
        f"{r['relus']:,}",
        f"{r['rescaled']:,}",
        f"{1e3 * r['online_s']:.2f} ({1e3 * low:.2f} to {1e3 * high:.2f})",
        f"{r['online_bytes'] / 1e6:.2f}",
        f"{r['offline_s']:.3f}",
        f"{r['offline_bytes'] / 1e6:.1f}",
        str(r["rounds"]),
    ]


HEADERS = ["removed by", "ReLUs kept", "shifted", "online ms", "online MB", "offline s", "offline MB", "rounds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=float, nargs="+", default=STEPS, help="parts of the ReLUs to keep")
    parser.add_argument("--inferences", type=int, default=5)
    parser.add_argument("--protocol", default="ot")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--results", type=Path, default=results_page.RESULTS, help="where the files go")
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    arguments = parser.parse_args()
    records = measure(arguments)
    said = "".join(f"- {sentence}\n" for sentence in statements(records))
    table = results_page.table(HEADERS, list(map(row, records)))
    print(f"{table}\n{said}")
    if not arguments.print:
        page = arguments.results / results_page.path("savings", arguments.hardware).name
        figure = page.with_suffix(".svg")
        about = ABOUT.format(figure=figure.name, **vars(arguments))
        page.write_text(results_page.head("Online cost against ReLUs kept", about) + f"{said}\n{table}")
        content = {"model": arguments.model, "runs": records, "fits": fits(records), "ratios": ratios(records)}
        page.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
        draw(figure, NAMES.get(arguments.model, arguments.model), records, fits(records), ratios(records))
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
