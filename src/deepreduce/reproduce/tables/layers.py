"""Figures 3 and 5: how ReLUs, parameters and FLOPs are spread over a network's layers. Counted, not trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import write_whole
from ...networks.counting import Layer, Profile, count
from ...networks.source import ModelSource
from ...version import __version__
from ..study import Context
from ..training import Training

_SHAPE, _CLASSES = (3, 32, 32), 100


@dataclass(frozen=True)
class Reading:
    """Statement that the paper reads off its figure, and whether the counts agree."""

    text: str
    holds: bool


@dataclass(frozen=True)
class LayersStudy:
    """The layers of ``networks``, each (built-in name, title): ``results/NAME/`` holds JSON, Markdown and pictures."""

    name: str
    title: str
    source: str
    networks: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    @property
    def trainings(self) -> tuple[Training, ...]:
        """None are needed."""
        return ()

    def write(self, results: Path, context: Context) -> list[Path]:
        """Count and write, whatever the scale. Raises `MissingPackageError` where a picture needs matplotlib."""
        profiles = {name: count(ModelSource(name).build(_SHAPE, _CLASSES)) for name, _ in self.networks}
        content = self._json(profiles, context)
        folder = results / self.name
        files = {f"{self.name}.json": (json.dumps(content, indent=1) + "\n").encode()}
        files[f"{self.name}.md"] = self._markdown(profiles, content).encode()
        written = [write_whole(folder / name, made) for name, made in files.items()]
        if context.figures:
            from ...report.figures.figures import distribution_figure

            written += [distribution_figure(p.to_json(), folder / f"{name}.svg") for name, p in profiles.items()]
        return written

    def _json(self, profiles: dict[str, Profile], context: Context) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "command": context.command,
            "date": context.date,
            "deepreduce": __version__,
            "input": list(_SHAPE),
            "classes": _CLASSES,
            "networks": {
                name: {
                    **profile.to_json(),
                    "readings": [{"text": reading.text, "holds": reading.holds} for reading in readings(profile)],
                }
                for name, profile in profiles.items()
            },
            "notes": list(self.notes),
        }

    def _markdown(self, profiles: dict[str, Profile], content: dict[str, Any]) -> str:
        lines = [f"# {self.title}", "", f"{self.source}.", "", "```", content["command"], "```", ""]
        lines += [
            f"Counted on {content['date']} by deepreduce {__version__} for one image of 3 x 32 x 32, 100 classes; "
            "nothing is trained, so neither scale nor seed matters. Layers are in the JSON file and in the pictures.",
            "",
        ]
        titles = dict(self.networks)
        for name, profile in profiles.items():
            lines += [f"## {titles[name]}", "", *_stage_lines(profile), ""]
            lines += [
                f"* {'Holds' if reading.holds else 'Does not hold'}: {reading.text}." for reading in readings(profile)
            ]
            lines += ["", f"![{titles[name]}]({name}.svg)", ""]
        if self.notes:
            lines += ["## Notes", "", *(f"* {note}" for note in self.notes), ""]
        return "\n".join(lines)


def readings(profile: Profile) -> list[Reading]:
    """Return what the paper reads off such a figure (section 2.2, observation 1; appendix A)."""
    convolutions = [layer for layer in profile.layers if layer.op == "conv2d" and _main(layer)]
    relus = [layer.cost.relus for layer in profile.layers if layer.cost.relus]
    half = len(convolutions) // 2
    params = [layer.cost.params for layer in convolutions]
    macs = sorted(layer.cost.macs for layer in convolutions)
    middle = macs[len(macs) // 10 : len(macs) - len(macs) // 10]
    return [
        Reading("later layers have fewer ReLUs than earlier ones", relus[0] > relus[-1] and _half(relus) > 0.5),
        Reading("later layers have more parameters than earlier ones", sum(params[half:]) > sum(params[:half])),
        Reading(
            "FLOPs are even: nine tenths of the convolutions are within a factor of two of the median",
            bool(middle) and middle[-1] <= 2 * macs[len(macs) // 2] and 2 * middle[0] >= macs[len(macs) // 2],
        ),
    ]


def _main(layer: Layer) -> bool:
    return "downsample" not in layer.name


def _half(values: list[int]) -> float:
    """Return the part of the sum that the first half has."""
    return sum(values[: len(values) // 2]) / sum(values)


def _stage_lines(profile: Profile) -> list[str]:
    total = profile.total
    lines = ["| stage | ReLUs | % | parameters | % | MACs | % |", "|---|---:|---:|---:|---:|---:|---:|"]
    for stage, cost in {**profile.stages, "all": total}.items():
        shares = (
            f"{value:,} | {100 * value / whole:.1f}"
            for value, whole in ((cost.relus, total.relus), (cost.params, total.params), (cost.macs, total.macs))
        )
        lines.append(f"| {stage} | {' | '.join(shares)} |")
    return lines


FIGURE3 = LayersStudy(
    "figure3",
    "Where the ReLUs, parameters and FLOPs of ResNet18 are",
    "Figure 3, section 2.2",
    (("resnet18", "ResNet18"),),
    ("The paper prints no numbers here; its counts per stage are those of Table 1, with which ours agree.",),
)
FIGURE5 = LayersStudy(
    "figure5",
    "Where the ReLUs, parameters and FLOPs of ResNet34, VGG16 and MobileNetV1 are",
    "Figure 5, appendix A",
    (("resnet34", "ResNet34"), ("vgg16", "VGG16"), ("mobilenet_v1", "MobileNetV1")),
    (
        "The paper's appendix announces MobileNetV2 as well and shows three networks.",
        "Its MobileNetV1 is another than ours (see table11): from the second stage on it has a quarter of the ReLUs.",
    ),
)
