"""The figure of bench/search/search_cost.py: both frontiers, and hypervolume against cost."""

from pathlib import Path

from figure_style import INK, STYLE

LOOKS = {"full": ("#2a7fc1", "s"), "quarter": ("#e08a00", "o")}


def draw(path: Path, title: str, records: list[dict]) -> None:
    import matplotlib

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 4.4), facecolor="white", layout="constrained")
        left, right = figure.subplots(1, 2)
        frontiers(left, records)
        costs(right, records)
        figure.suptitle(f"The frontier for a quarter of the training: {title}", fontsize=12, color=INK)
        figure.savefig(path, metadata={"Date": None})


def frontiers(axes, records: list[dict]) -> None:
    """Each frontier as the stairs that bound its area, one pair of stairs for each seed."""
    for record in records:
        most, floor = record["reference"]["relus"], record["reference"]["accuracy"]
        for name, (colour, marker) in LOOKS.items():
            points = sorted((relus, score) for _, relus, score, _ in record[name]["frontier"] if relus > 0)
            if not points:
                continue
            relus, scores = zip(*points, strict=True)
            stairs = ([relus[0], *relus, max(most, relus[-1])], [floor, *scores, scores[-1]])
            axes.step(*stairs, where="post", color=colour, linewidth=1.4, alpha=0.7)
            axes.scatter(relus, scores, s=26, marker=marker, facecolors="white", edgecolors=colour, zorder=3)
    for name, (colour, marker) in LOOKS.items():
        axes.plot([], [], color=colour, marker=marker, markerfacecolor="white", label=name)
    axes.set(xscale="log", xlabel="ReLUs", ylabel="validation accuracy (%)")
    axes.legend(frameon=False, loc="lower right")


def costs(axes, records: list[dict]) -> None:
    for record in records:
        for name, (colour, marker) in LOOKS.items():
            one = record[name]
            axes.scatter(
                one["macs"] / 1e12, one["hypervolume"], s=44, marker=marker, facecolors="white", edgecolors=colour
            )
        ends = [record[name] for name in ("quarter", "full")]
        axes.plot([e["macs"] / 1e12 for e in ends], [e["hypervolume"] for e in ends], color="#aab2bb", zorder=0)
    most = max(record[name]["hypervolume"] for record in records for name in LOOKS)
    axes.set(xlabel="TMACs of training passes", ylabel="hypervolume (decades x points)")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.1 * most if most else 1)
