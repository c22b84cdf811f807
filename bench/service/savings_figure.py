"""The figure of bench/service/savings.py: online time and bytes against ReLUs kept."""

from pathlib import Path

import numpy as np

from figure_style import INK, STYLE

LOOKS = {  # colour, marker, size, what is said
    "layers": ("#2a7fc1", "s", 62, "whole layers"),
    "channels": ("#0c9a72", "D", 44, "whole channels"),
    "elements": ("#e08a00", "o", 30, "random elements"),
}


def draw(path: Path, model: str, records: list[dict], fits: dict, ratios: list[float]) -> None:
    import matplotlib

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 4.9), facecolor="white")
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.07, right=0.985, top=0.74, bottom=0.12, wspace=0.2)
        panel(left, records, "online_s", 1e3, fits["online_s"]["all"], "Online time (ms)", "us")
        panel(right, records, "online_bytes", 1e-6, fits["online_bytes"]["all"], "Online traffic (MB)", "B")
        inset(left, records)
        legend(left)
        heading(figure, model, records, ratios)
        figure.savefig(path, metadata={"Date": None})


def panel(axes, records: list[dict], quantity: str, unit: float, fit: dict, title: str, each: str) -> None:
    """One quantity against thousands of ReLUs, with the line through all ways."""
    most = max(r["relus"] for r in records)
    x = np.array([0, 1.04 * most])
    axes.plot(x / 1e3, unit * (fit["slope"] * x + fit["intercept"]), color="#aab2bb", linewidth=1.4, zorder=1)
    for way, (colour, marker, size, _) in LOOKS.items():
        rows = [r for r in records if r["way"] == way]
        kept, y = np.array([r["relus"] for r in rows]) / 1e3, unit * np.array([r[quantity] for r in rows])
        if quantity == "online_s":
            low, high = unit * np.array([r["online_spread_s"] for r in rows]).T
            axes.vlines(kept, low, high, color=colour, linewidth=1, alpha=0.5, zorder=2)
        axes.scatter(kept, y, s=size, marker=marker, facecolors="white", edgecolors=colour, linewidths=1.6, zorder=3)
    slope = 1e6 * fit["slope"] if each == "us" else fit["slope"]
    label = f"{slope:.2f} µs per ReLU" if each == "us" else f"{slope:.0f} bytes per ReLU"
    constant = f"+ {unit * fit['intercept']:.1f} {'ms' if each == 'us' else 'MB'},  R² = {fit['r_squared']:.4f}"
    # Below the line and left of the inset: free whatever the numbers, as both panels rise from the left.
    axes.annotate(
        f"{label}\n{constant}",
        (0.19 if each == "us" else 0.55, 0.07),
        xycoords="axes fraction",
        ha="left",
        va="bottom",
        color=INK,
        fontsize=9.5,
    )
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    axes.set_xlabel("ReLUs kept (thousands)")
    axes.set_xlim(0, 1.06 * most / 1e3)
    axes.set_ylim(0, 1.12 * unit * max(r[quantity] for r in records))


def inset(axes, records: list[dict]) -> None:
    """The same points on logarithmic axes: the small ones can be seen."""
    from matplotlib.ticker import LogLocator

    small = axes.inset_axes((0.63, 0.1, 0.35, 0.32))
    for way, (colour, marker, size, _) in LOOKS.items():
        rows = [r for r in records if r["way"] == way]
        x, y = [r["relus"] / 1e3 for r in rows], [1e3 * r["online_s"] for r in rows]
        small.scatter(x, y, s=size / 4, marker=marker, facecolors="white", edgecolors=colour, linewidths=1)
    small.set(xscale="log", yscale="log")
    small.tick_params(labelsize=7, which="both")
    small.minorticks_off()
    small.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    small.set_title("log scales", fontsize=7.5, color="#59626d", loc="left", pad=2)
    for axis in (small.xaxis, small.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def legend(axes) -> None:
    for colour, marker, size, text in LOOKS.values():
        axes.scatter([], [], s=size, marker=marker, facecolors="white", edgecolors=colour, linewidths=1.6, label=text)
    axes.legend(loc="upper left", frameon=False, title="ReLUs removed as", alignment="left", fontsize=9.5)


def heading(figure, model: str, records: list[dict], ratios: list[float]) -> None:
    layers = [r for r in records if r["way"] == "layers"]
    most, least = (choose(layers, key=lambda r: r["relus"]) for choose in (max, min))
    figure.text(0.012, 0.935, "Every ReLU that is removed is time saved", fontsize=14.5, fontweight="bold", color=INK)
    lines = [
        f"One private {model} inference between two processes, {most['relus']:,} down to {least['relus']:,} ReLUs: "
        f"{1e3 * most['online_s']:.0f} ms down to {1e3 * least['online_s']:.0f} ms online."
    ]
    if ratios:
        lines.append(
            f"At equal counts, elements at random take {np.median(ratios):.2f} "
            f"times the time that whole layers take (median)."
        )
    figure.text(0.012, 0.905, "\n".join(lines), fontsize=10, color="#59626d", va="top", linespacing=1.4)
