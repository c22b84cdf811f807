"""The model of seconds (`deepreduce.plan.cost.latency`) fitted to this machine, and predicted against measured.

    python bench/service/timing.py [--model resnet18] [--point full S2+S3+S4 ...] [--network none lan wan]
                                   [--inferences 5] [--imagenet squeezenet resnet18 resnet50]

Runs plans with random weights: full, culled, thinned, reshaped, of two widths, merged and not; and networks for 224x224
images, over the first two networks only. Constants of computing
are fitted to the seconds of every op and phase over loopback, those of links to the shaped runs; then every run is
predicted with the fitted constants, and with those in the source. Writes bench/results/timing_<hardware>_<date>.md, and
beside it the runs as JSON.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

import numpy as np

from deepreduce.benchmark import BenchOptions, bench, measure_rates
from deepreduce.export import plan_of
from deepreduce.plan import INPUT, Plan, predict, write_plan, write_weights
from deepreduce.plan.cost import DEFAULT_MACHINE, Machine, NetworkLink, for_link, op_work, parse_link, run_seconds

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from imagenet import FACTORIES, WEIGHT_BITS

import results_page

POINTS = ["full", "S2+S3+S4", "S2^RT+S3^RT+S4^RT", "S2^RT+S3^RT+S4^RT, rho=0.5", "S2^RT+S3^RT, alpha=0.5, rho=0.5"]
LINK_FIELDS = ("link_linear_s", "link_level_s", "link_rest")
FIELDS = [field.name for field in fields(Machine) if field.name not in LINK_FIELDS]
ABOUT = """Client and server are two processes on one machine, one thread each; medians of {inferences} inferences. The
constants of computing are fitted to the runs over loopback, op by op and phase by phase; those of links to the shaped
runs (lan: 1 Gb/s, 1 ms; wan: 100 Mb/s, 40 ms). `fitted` are the constants of this run, `source` those in
src/deepreduce/plan/cost/latency.py."""


@dataclass(frozen=True)
class Timed:
    """A plan and what `bench` measured of it."""

    name: str
    plan: Plan
    result: dict

    @property
    def link(self) -> NetworkLink | None:
        return parse_link(self.result["network"])


def solve(rows: list[list[float]], right: list[float]) -> np.ndarray:
    """Least squares without negative constants: what would be negative is left out, one by one."""
    a, b = np.array(rows), np.array(right)
    chosen = [column for column in range(a.shape[1]) if a[:, column].any()]
    while True:
        # Columns of very different size: scaled for the solver's sake.
        scale = np.linalg.norm(a[:, chosen], axis=0)
        found = np.linalg.lstsq(a[:, chosen] / scale, b, rcond=None)[0] / scale
        if not len(found) or found.min() >= 0:
            break
        del chosen[int(np.argmin(found * scale))]
    result = np.full(a.shape[1], np.nan)
    result[chosen] = found
    return result


def fit_computing(runs: list[Timed]) -> Machine:
    """The constants without links; a constant that no run tells, or that would be negative, stays as it is."""
    rows, right = [], []
    for run in (run for run in runs if run.link is None):
        result = run.result
        prediction = predict(run.plan, result["protocol"])
        work = op_work(run.plan, result["protocol"], result["batch"], prediction, result["weight_bytes"])
        for phase in ("offline", "online"):
            whole = result[phase]["seconds"]
            counts = {name: getattr(done, phase) for name, done in work.items()}
            everything = [sum(each.get(name, 0.0) for each in counts.values()) for name in FIELDS]
            rows.append([value / whole for value in everything])
            right.append(1.0)
            # What an op weighs in its phase is what its error matters.
            for op in result["ops"]:
                seconds = op[phase]["seconds"]
                if op["name"] != INPUT and seconds and counts[op["name"]]:
                    weight = (seconds / whole) ** 0.5 / seconds
                    rows.append([counts[op["name"]].get(name, 0.0) * weight for name in FIELDS])
                    right.append(seconds * weight)
    found = dict(zip(FIELDS, solve(rows, right), strict=True))
    return replace(DEFAULT_MACHINE, **{name: float(value) for name, value in found.items() if not np.isnan(value)})


def fit_links(runs: list[Timed], machine: Machine) -> Machine:
    """The three constants of links: seconds are linear in them."""
    shaped = [run for run in runs if run.link is not None]
    if not shaped:
        return machine
    without = replace(machine, **dict.fromkeys(LINK_FIELDS, 0.0))
    rows, right = [], []
    for run in shaped:
        start = _predicted(run, without)
        slopes = {name: _predicted(run, replace(without, **{name: 1.0})) for name in LINK_FIELDS}
        for phase in ("offline", "online"):
            whole = run.result[phase]["seconds"]
            rows.append([(getattr(slopes[name], phase) - getattr(start, phase)) / whole for name in LINK_FIELDS])
            right.append((whole - getattr(start, phase)) / whole)
    found = dict(zip(LINK_FIELDS, solve(rows, right), strict=True))
    return replace(machine, **{name: 0.0 if np.isnan(value) else float(value) for name, value in found.items()})


def _predicted(run: Timed, machine: Machine):
    result = run.result
    return run_seconds(
        run.plan, result["protocol"], result["batch"], machine, run.link, weight_bytes=result["weight_bytes"]
    )


def row(run: Timed, machines: list[Machine]) -> list[str]:
    result = run.result
    cells = [f"{run.name} {result['protocol']} {result['network']}", f"{result['relus']:,}"]
    for phase in ("online", "offline"):
        measured = result[phase]["seconds"]
        cells.append(f"{measured:.4f}")
        for machine in machines:
            predicted = getattr(_predicted(run, machine), phase)
            cells.append(f"{predicted:.4f} ({100 * (predicted / measured - 1):+.0f} %)")
    return cells


def summary(runs: list[Timed], machine: Machine) -> str:
    """The errors in words, loopback and links apart."""
    lines = []
    for what, chosen in (
        ("loopback", [run for run in runs if run.link is None]),
        ("links", [r for r in runs if r.link]),
    ):
        for phase in ("online", "offline"):
            errors = [abs(getattr(_predicted(r, machine), phase) / r.result[phase]["seconds"] - 1) for r in chosen]
            if errors:
                middle, largest = 100 * float(np.median(errors)), 100 * max(errors)
                lines.append(f"- {what}, {phase}: error {middle:.0f} % in the median, {largest:.0f} % at most")
    return "\n".join(lines)


def constants(machine: Machine) -> str:
    """To be copied into the source."""
    rows = [[name, f"{value:.2e}", f"{getattr(DEFAULT_MACHINE, name):.2e}"] for name, value in asdict(machine).items()]
    return results_page.table(["constant", "fitted", "source"], rows)


def measure(arguments: argparse.Namespace) -> list[Timed]:
    runs: list[Timed] = []
    rates = measure_rates()
    for width, point, merge in product(arguments.width, arguments.point, (True, False)):
        plan, weights = plan_of(arguments.model, None if point == "full" else point, width=width, merge=merge)
        with tempfile.TemporaryDirectory() as name:
            write_plan(Path(name) / "plan.json", plan)
            write_weights(Path(name) / "weights.safetensors", plan, weights)
            del weights
            for protocol in arguments.protocol:
                for network in arguments.network:
                    result = bench(Path(name), BenchOptions(protocol, arguments.inferences, network), rates=rates)
                    title = f"{arguments.model} {point}" + ("" if width == 1 else f", width {width:g}")
                    title += "" if merge else ", unmerged"
                    facts = {"model": arguments.model, "point": point, "merged": merge}
                    runs.append(Timed(title, for_link(plan, parse_link(network)), {**facts, **result}))
                    print(" | ".join(row(runs[-1], [DEFAULT_MACHINE])), flush=True)
    for model in arguments.imagenet:
        settings = {"weight_bits": WEIGHT_BITS[model], "calibration_images": 1, "merge": False}
        plan, weights = plan_of(f"{FACTORIES}:{model}", image=224, classes=1000, **settings)
        with tempfile.TemporaryDirectory() as name:
            write_plan(Path(name) / "plan.json", plan)
            write_weights(Path(name) / "weights.safetensors", plan, weights)
            del weights
            for network in arguments.network[:2]:  # the slowest would take minutes each
                result = bench(Path(name), BenchOptions("ot", 2, network), rates=rates)
                facts = {"model": model, "point": "full", "merged": False}
                runs.append(Timed(f"{model} 224x224", for_link(plan, parse_link(network)), {**facts, **result}))
                print(" | ".join(row(runs[-1], [DEFAULT_MACHINE])), flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--point", nargs="+", default=POINTS)
    parser.add_argument("--width", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--protocol", nargs="+", default=["ot", "delphi"])
    parser.add_argument("--network", nargs="+", default=["none", "lan", "wan"])
    parser.add_argument("--inferences", type=int, default=5)
    parser.add_argument("--imagenet", nargs="*", default=[], choices=list(WEIGHT_BITS), help="at 224x224, with ot")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--print", action="store_true", help="print the tables, write no files")
    arguments = parser.parse_args()
    runs = measure(arguments)
    machine = fit_links(runs, fit_computing(runs))
    headers = ["plan, protocol, network", "ReLUs"]
    headers += [text for phase in ("online", "offline") for text in (f"{phase} s", "fitted", "source")]
    table = results_page.table(headers, [row(run, [machine, DEFAULT_MACHINE]) for run in runs])
    text = f"{table}\nWith the fitted constants:\n\n{summary(runs, machine)}\n\nWith those in the source:\n\n"
    text += f"{summary(runs, DEFAULT_MACHINE)}\n\n{constants(machine)}"
    print(text)
    if not arguments.print:
        page = results_page.path("timing", arguments.hardware)
        about = ABOUT.format(inferences=arguments.inferences)
        page.write_text(results_page.head("Seconds predicted and measured", about) + text)
        kept = [{name: value for name, value in run.result.items() if name != "ops"} for run in runs]
        page.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
