"""What the search for a quarter of the work finds, against the full one: hypervolume, cost, criticality.

    python bench/search/search_cost.py FULL_DIR QUARTER_DIR [FULL_DIR QUARTER_DIR ...] [--none-accuracy 18.2]

Each pair of folders are two finished searches of one network on one data set with one seed (`deepreduce search ...
--compute-budget full`, `--compute-budget quarter`); several pairs are several seeds. Hypervolumes are measured from the
teacher's ReLUs and the accuracy of the network without ReLUs: trained, if --none-accuracy gives it (percent), else
chance. Writes
bench/results/search-cost_<hardware>_<date>.md, .json and .svg.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

from deepreduce.search import (
    Frontier,
    RankAgreement,
    Reference,
    TrainedNetwork,
    hypervolume,
    rank_agreement,
    reference_of,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
import search_cost_figure

import results_page

MUST_AGREE = (
    *("model", "width", "stages", "recipe", "teacher_recipe", "seed", "alpha", "rho"),
    *("criticality_exponent", "front_padding"),
)


def pair_record(full: Frontier, quarter: Frontier, none_accuracy: float | None) -> dict:
    """Everything that is told of one pair."""
    check(full, quarter)
    reference = common_reference(full, quarter, none_accuracy)
    agreement = rank_agreement(criticalities(full), criticalities(quarter))
    record = {
        "seed": full.content["settings"]["seed"],
        "reference": asdict(reference),
        "criticality": {**asdict(agreement), "full": criticalities(full), "quarter": criticalities(quarter)},
    }
    # A search may find another order and reach fewer ReLUs: the area where both have networks is told apart.
    least = max(min(n.relus for n in frontier) for frontier in (full, quarter))
    for name, frontier in (("full", full), ("quarter", quarter)):
        within = [(max(n.relus, least), n.validation_accuracy) for n in frontier]
        effort = frontier.content["effort"]
        record[name] = {
            "directory": str(frontier.directory),
            "hypervolume": hypervolume([(n.relus, n.validation_accuracy) for n in frontier], reference),
            "common_hypervolume": hypervolume(within, reference),
            "test_hypervolume": hypervolume([(n.relus, n.test_accuracy or 0.0) for n in frontier], reference),
            "macs": effort["spent_macs"],
            "seconds": effort["seconds"],
            "frontier": [[n.name, n.relus, n.validation_accuracy, n.test_accuracy] for n in frontier],
        }
    for quantity in ("hypervolume", "common_hypervolume", "test_hypervolume", "macs", "seconds"):
        record[f"{quantity}_ratio"] = ratio(record["quarter"][quantity], record["full"][quantity])
    return record


def check(full: Frontier, quarter: Frontier) -> None:
    """Refuse folders that are no pair."""
    names = [frontier.content.get("effort", {}).get("name", "an unknown budget") for frontier in (full, quarter)]
    if names != ["full", "quarter"]:
        raise SystemExit(f"{full.directory}, {quarter.directory}: searches of {' and '.join(names)}; full first")
    ours, theirs = full.content["settings"], quarter.content["settings"]
    differing = [key for key in MUST_AGREE if ours.get(key) != theirs.get(key)]
    if full.content["data"]["digest"] != quarter.content["data"]["digest"]:
        differing.append("data")
    for frontier in (full, quarter):
        if frontier.content.get("budgets"):
            raise SystemExit(f"{frontier.directory} has networks for --budgets, whose training its cost leaves out")
    if differing:
        raise SystemExit(f"{full.directory} and {quarter.directory} are no pair: they differ in {differing[0]}")


def common_reference(full: Frontier, quarter: Frontier, none_accuracy: float | None) -> Reference:
    points = [(n.relus, n.validation_accuracy) for n in (*full.networks, *quarter.networks)]
    return reference_of(points, teacher(full).relus, len(full.content["data"]["classes"]), none_accuracy)


def teacher(frontier: Frontier) -> TrainedNetwork:
    return next(n for n in frontier.networks if n.role == "teacher")


def criticalities(frontier: Frontier) -> dict[str, float]:
    rows = frontier.content["criticality"]
    return {row["stage"]: row["criticality"] for row in rows if row["criticality"] is not None}


def ratio(one: float, other: float) -> float | None:
    return one / other if other else None


def summary(records: list[dict]) -> dict:
    """Mean, standard deviation (None for a single pair), least and most of each quantity over the pairs."""
    found = {}
    for name in (
        "hypervolume_ratio",
        "common_hypervolume_ratio",
        "test_hypervolume_ratio",
        "macs_ratio",
        "seconds_ratio",
    ):
        found[name] = spread([r[name] for r in records])
    for name in ("kendall_tau", "spearman_rho"):
        found[name] = spread([r["criticality"][name] for r in records])
    return found


def spread(values: list[float | None]) -> dict | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = stdev(known) if len(known) > 1 else None
    return {"n": len(known), "mean": mean(known), "sd": deviation, "least": min(known), "most": max(known)}


def rows(records: list[dict]) -> list[list[str]]:
    table = []
    for r in records:
        for name in ("full", "quarter"):
            one, cheap = r[name], name == "quarter"
            table.append(
                [
                    f"{name}, seed {r['seed']}",
                    f"{one['hypervolume']:.2f}",
                    percent(r["hypervolume_ratio"]) if cheap else "",
                    f"{one['test_hypervolume']:.2f}",
                    f"{one['macs'] / 1e12:.3g}",
                    percent(r["macs_ratio"]) if cheap else "",
                    f"{one['seconds']:,.0f}",
                    percent(r["seconds_ratio"]) if cheap else "",
                    agreement(RankAgreement(*[r["criticality"][k] for k in AGREEMENT])) if cheap else "",
                ]
            )
    return table


AGREEMENT = ("kendall_tau", "spearman_rho", "same_order")
HEADERS = ["search", "hypervolume", "of full", "on test", "TMACs", "of full", "seconds", "of full", "tau / rho (order)"]


def agreement(found: RankAgreement) -> str:
    order = "same" if found.same_order else "other"
    if found.kendall_tau is None or found.spearman_rho is None:
        return f"- ({order})"
    return f"{found.kendall_tau:.2f} / {found.spearman_rho:.2f} ({order})"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def told(name: str, found: dict | None, scale: float = 100, unit: str = " %") -> str:
    if found is None:
        return f"- {name}: undefined"
    deviation = "" if found["sd"] is None else f", standard deviation {scale * found['sd']:.2f}{unit}"
    between = f" ({scale * found['least']:.2f} to {scale * found['most']:.2f}{unit}{deviation})"
    return f"- {name}: {scale * found['mean']:.2f}{unit}{between if found['n'] > 1 else ''}, n = {found['n']}"


def lines(found: dict) -> str:
    return "\n".join(
        [
            told("hypervolume of the quarter search relative to the full one", found["hypervolume_ratio"]),
            told("the same over the ReLUs that both frontiers reach", found["common_hypervolume_ratio"]),
            told("hypervolume by test accuracy of the frontier", found["test_hypervolume_ratio"]),
            told("training passes, weighted by MACs", found["macs_ratio"]),
            told("seconds of training", found["seconds_ratio"]),
            told("Kendall's tau of the criticalities", found["kendall_tau"], 1, ""),
            told("Spearman's rho of the criticalities", found["spearman_rho"], 1, ""),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="FULL_DIR QUARTER_DIR")
    parser.add_argument("--none-accuracy", type=float, help="of the network without ReLUs, percent; default: chance")
    parser.add_argument("--hardware", default=results_page.hardware())
    parser.add_argument("--results", type=Path, default=results_page.RESULTS)
    parser.add_argument("--print", action="store_true", help="print the table, write no files")
    arguments = parser.parse_args()
    folders = [Frontier.load(path) for path in arguments.directories]
    if len(folders) % 2:
        parser.error("give pairs: FULL_DIR QUARTER_DIR")
    records = [
        pair_record(full, quarter, arguments.none_accuracy)
        for full, quarter in zip(folders[::2], folders[1::2], strict=True)
    ]
    found = summary(records)
    table = results_page.table(HEADERS, rows(records)) + "\n" + lines(found) + "\n"
    print(table)
    if arguments.print:
        return
    arguments.results.mkdir(parents=True, exist_ok=True)
    page = arguments.results / results_page.path("search-cost", arguments.hardware).name
    content, first = folders[0].content, records[0]["reference"]
    settings, data = content["settings"], content["data"]
    title = f"{settings['model']} at width {settings['width']:g} on {data['name']}"
    about = f"""{title}, {data["train"]:,} training images, {settings["recipe"]["epochs"]} epochs. Hypervolume: decades
of ReLUs times points of validation accuracy, dominated from {first["relus"]:,} ReLUs (the teacher's) and
{first["accuracy"]:.2f} % ({first["origin"]}: without ReLUs) on. Cost: every image that a training passes, forward and
backward, weighted by MACs, the teacher's passes included. Seconds are those of the trainings, on whatever else ran.

![accuracy against ReLUs, hypervolume against cost]({page.with_suffix(".svg").name})"""
    page.write_text(results_page.head("The search for a quarter of the work", about) + table)
    page.with_suffix(".json").write_text(json.dumps({"pairs": records, "summary": found}, indent=1) + "\n")
    search_cost_figure.draw(page.with_suffix(".svg"), title, records)
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
