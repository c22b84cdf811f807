"""Legend: what the names of networks mean, for readers who have not read the paper; only what occurs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..reading.records import ReportedNetwork

#: (what to look for in a name, how it is written, what it means)
_TERMS = (
    (
        r"^(?:S\d|[A-Za-z])",
        "S2+S3",
        "The stages that keep ReLUs; in all others every ReLU is removed (culling). A stage is a run of layers whose "
        "maps have the same height and width, S1 the first after the stem, unless the search was given other stages.",
    ),
    (
        r"\^RT",
        "S2^RT",
        "RT is for ReLU thinning: every other ReLU layer of the stage is removed, too.",
    ),
    (r"\^RT\[outer\]", "S2^RT[outer]", "Thinned, but the other half of the layers keeps its ReLUs."),
    (r"\*", "S2*", "Only one block of the stage keeps its ReLUs (S2*2: two)."),
    (
        r"alpha=",
        "alpha=0.5 (\N{GREEK SMALL LETTER ALPHA})",
        "Channels scaled by 0.5 in every layer, and the ReLUs with them (reshaping).",
    ),
    (
        r"rho=",
        "rho=0.5 (\N{GREEK SMALL LETTER RHO})",
        "Height and width of the image and of every map scaled by 0.5, and so the ReLUs by 0.25 (reshaping).",
    ),
    (r"relus=", "relus=25000", "Single elements of the ReLU layers were removed until so many ReLUs were left."),
    (r"^none", "none", "No ReLU is left."),
)


def compute_legend(networks: Sequence[ReportedNetwork]) -> tuple[tuple[str, str], ...]:
    """Return rows of (as it is written, what it means)."""
    teacher = next((network for network in networks if network.role == "teacher"), None)
    names = [network.name for network in networks if network.role != "teacher"]
    if not names:
        return ()
    rows = [] if teacher is None else [(teacher.label, "The full network, with all of its ReLUs.")]
    rows += [(text, meaning) for found, text, meaning in _TERMS if any(re.search(found, name) for name in names)]
    if any(network.kd for network in networks):
        kd = "Knowledge distillation: the network was trained to give the full network's outputs, besides the labels."
        rows.append(("KD", kd))
    if any(network.role == "profile" for network in networks):
        profiled = "Trained to find out how much a stage's ReLUs contribute: that stage alone keeps them."
        rows.append(("profiled", profiled))
    return tuple(rows)
