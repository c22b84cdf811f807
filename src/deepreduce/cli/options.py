"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import SettingError


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
