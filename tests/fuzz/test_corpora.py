"""Every seed, and every input that was ever kept, through its target: what once was wrong stays right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fuzz.registry import all_targets
from fuzz.target import check, deadline

CORPORA = Path(__file__).parent / "corpora"
TORCH = importlib.util.find_spec("torch") is not None
LONGEST_S = 60.0  # for a busy machine; the fuzzers have each target's own bound

pytestmark = pytest.mark.core


@pytest.mark.parametrize("chosen", all_targets(torch=TORCH), ids=lambda chosen: chosen.name)
def test_what_was_kept(chosen):
    contents = {f"seed {number}": content for number, content in enumerate(chosen.seeds())}
    assert contents and all(len(content) <= chosen.most_bytes for content in contents.values())
    contents |= {path.name: path.read_bytes() for path in sorted((CORPORA / chosen.name).iterdir())}
    failures = []
    for name, content in contents.items():
        try:
            with deadline(LONGEST_S):
                check(chosen, content)
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


def test_every_corpus_has_its_target():
    if TORCH:
        assert {path.name for path in CORPORA.iterdir()} == {chosen.name for chosen in all_targets(torch=True)} | {
            "cpp"
        }
