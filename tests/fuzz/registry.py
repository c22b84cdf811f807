"""All targets; importing this lets their modules, and those of the tests beside, be imported by their names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from fuzz.target import TARGETS, Target

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(folder) for folder in (TESTS, TESTS / "support") if str(folder) not in sys.path]


def all_targets(*, torch: bool) -> list[Target]:
    """In order of name; ``torch``: with the learning half's."""
    importlib.import_module("fuzz.targets")
    if torch:
        importlib.import_module("fuzz.targets.with_torch")
    return sorted(TARGETS.values(), key=lambda one: one.name)
