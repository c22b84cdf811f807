"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import SettingError

NORMALIZATION = "Normalization"  # a panel of --help
OWN_NORMALIZATION = (
    "note: pictures are normalized by their own mean and standard deviation; if the weights were trained with others, "
    "give --mean and --std, or --normalize imagenet"
)


def file_option(help: str, panel: str, *names: str, default: str | bool = False) -> Any:
    """Return an option that takes a file; ``panel`` and ``default`` are what the help shows."""
    return typer.Option(*names, metavar="FILE", help=help, show_default=default, rich_help_panel=panel)


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A built-in network (resnet18, vgg16 ...), path/to/file.py:factory, package.module:factory or file.onnx.",
        show_default=False,
    ),
]
WidthOption = Annotated[float, typer.Option(help="Scale the channels of a built-in network.")]
StageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="NAME=PATTERN",
        help="Name the stages yourself: shell patterns over ReLU names, comma-separated. Repeat for each stage.",
        show_default=False,
    ),
]
StoreKeyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The key that locks the store, made if there is none.",
        show_default="the keyring's, or ~/.config/deepreduce/store.key",
    ),
]
PreferOption = Annotated[
    Literal["total", "online"], typer.Option(help="What is to take least with --protocol auto: all, or predicting.")
]
NORMALIZATIONS = ("imagenet", "none")  # none: pixels between 0 and 1 as they are
MeanOption = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Mean of pixels between 0 and 1 by channel, as the network was trained with.",
        show_default="that of the training images",
        rich_help_panel=NORMALIZATION,
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Their standard deviation.",
        show_default="that of the training images",
        rich_help_panel=NORMALIZATION,
    ),
]
NormalizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|none",
        help="In place of --mean and --std: those that torchvision's networks are trained with, or 0 and 1.",
        show_default=False,
        rich_help_panel=NORMALIZATION,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def parse_shape(text: str) -> tuple[int, int, int]:
    """``3x32x32`` as (channels, height, width)."""
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})x(\d{1,9})", text.strip().lower())
    if match is None or min(map(int, match.groups())) < 1:
        raise SettingError(f"input {text!r} is not a size", "write channels x height x width, as 3x32x32")
    channels, height, width = map(int, match.groups())
    return channels, height, width


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``64x64`` as (height, width)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip().lower())
    if match is None or min(map(int, match.groups())) < 1:
        raise SettingError(f"image size {text!r} is not a size", "write height x width, as 64x64")
    return int(match[1]), int(match[2])


def parse_normalization(
    mean: str | None, std: str | None, normalize: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and the standard deviation that the three options give, None where none of them is given."""
    if normalize is not None:
        if mean is not None or std is not None:
            raise SettingError("--normalize says what --mean and --std are", "give it, or the two of them")
        if normalize not in NORMALIZATIONS:
            raise SettingError(
                f"--normalize {normalize!r} is not known", f"{' or '.join(NORMALIZATIONS)}; or give --mean and --std"
            )
        if normalize == "none":
            return (0.0,), (1.0,)
        from ..data import IMAGENET

        return IMAGENET
    if (mean is None) != (std is None):
        raise SettingError("--mean and --std must be given together", "as --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25")
    return None if mean is None or std is None else (_numbers("--mean", mean), _numbers("--std", std))


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"{option} {text!r} cannot be read", f"write {option} 0.485,0.456,0.406") from None


def parse_pairs(texts: Sequence[str] | None, what: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict in their order."""
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise SettingError(f"{what} {text!r} cannot be read", f"write {what} NAME=VALUE")
        if name.strip() in pairs:
            raise SettingError(f"{what} {name.strip()} is given twice")
        pairs[name.strip()] = value.strip()
    return pairs
