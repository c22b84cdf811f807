"""The look of the figures in bench/results."""

STYLE = {
    "svg.hashsalt": "deepreduce",  # the same picture is the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": "#8b929c",
    "axes.labelcolor": "#3b424a",
    "xtick.color": "#59626d",
    "ytick.color": "#59626d",
    "axes.grid": True,
    "grid.color": "#e9ecef",
}
INK = "#1c2127"
