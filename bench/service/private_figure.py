"""The figure of bench/service/private.py: seconds and bytes of a prediction against ReLUs kept."""

from pathlib import Path

from figure_style import INK, STYLE

LINKS = {
    "none": ("loopback", "#2a7fc1"),
    "lan": ("1 Gb/s, 1 ms", "#0c9a72"),
    "wan": ("100 Mb/s, 40 ms", "#e08a00"),
}


def draw(path: Path, results: list[dict], protocol: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    chosen = [result for result in results if result["protocol"] == protocol]
    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 4.4), facecolor="white")
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.07, right=0.985, top=0.8, bottom=0.14, wspace=0.2)
        for network, (label, color) in LINKS.items():
            runs = sorted((r for r in chosen if r["network"] == network), key=lambda r: r["relus"])
            relus = [run["relus"] for run in runs]
            whole = [run["online"]["seconds"] + run["offline"]["seconds"] for run in runs]
            left.plot(relus, whole, "o-", color=color, label=label)
            left.plot(relus, [run["online"]["seconds"] for run in runs], "o:", color=color)
        runs = sorted((r for r in chosen if r["network"] == "none"), key=lambda r: r["relus"])
        for phase, marks in (("offline", "s-"), ("online", "s:")):
            sizes = [(run[phase]["up_bytes"] + run[phase]["down_bytes"]) / 1e6 for run in runs]
            right.plot([run["relus"] for run in runs], sizes, marks, color=INK, label=phase)
        for axes, what in (
            (left, "Seconds of a prediction: in all, and online (dotted)"),
            (right, "Megabytes, both ways"),
        ):
            axes.set(xscale="log", yscale="log", xlabel="ReLUs kept")
            axes.set_xticks(relus, [f"{count / 1e3:.0f}K" for count in relus])
            axes.minorticks_off()
            axes.set_title(what, loc="left", color=INK, fontsize=11)
            axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
            axes.set_ylim(top=4 * axes.get_ylim()[1])
        figure.suptitle(f"Private ResNet18 at 32x32, linear layers merged, {protocol}", x=0.07, ha="left", color=INK)
        figure.savefig(path, metadata={"Date": None})
