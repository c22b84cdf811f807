"""Colors told apart by color-blind readers and readable on white and on dark grey (after Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Sequence

BLUE = "#2a7fc1"
ORANGE = "#e08a00"
GREEN = "#0c9a72"
VERMILION = "#d55e00"
PURPLE = "#b5679a"
SKY = "#56b4e9"
GREY = "#8b929c"
LIGHT_GREY = "#bcc3cc"

#: Lines and bars that come in any number take these in turn.
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, GREY)
#: Published methods in the order of ``published.json``: color, and the hollow symbol in plotly and in matplotlib. None
#: is the circle or the diamond of a search's own networks.
PUBLISHED = (
    (GREEN, "square-open", "s"),
    (PURPLE, "triangle-up-open", "^"),
    (SKY, "triangle-down-open", "v"),
    (VERMILION, "pentagon-open", "p"),
    (PURPLE, "hexagram-open", "*"),
    (GREEN, "cross-open", "P"),
    (VERMILION, "x-open", "X"),
)
#: ReLUs, parameters, multiply-accumulates.
QUANTITIES = {"ReLUs": BLUE, "Parameters": ORANGE, "MACs": GREEN}


def stage_colors(stages: Sequence[str]) -> dict[str, str]:
    """Return one color per stage; what lies around the stages proper (stem, head) is grey."""
    proper = [stage for stage in stages if stage[:1] == "S" and stage[1:].isdigit()]
    around = [stage for stage in stages if stage not in proper]
    colors = {stage: CYCLE[i % (len(CYCLE) - 1)] for i, stage in enumerate(proper)}
    colors |= {stage: (GREY, LIGHT_GREY)[i % 2] for i, stage in enumerate(around)}
    return {stage: colors[stage] for stage in stages}
