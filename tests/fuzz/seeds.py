"""Writes the seeds of every target (or of those named) to corpora/: well-formed inputs, and the classic damages.

    python tests/fuzz/seeds.py [TARGET ...]

What a fuzzer found besides is kept: only files named seed-* are replaced.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPORA = HERE / "corpora"
sys.path[:1] = [str(HERE.parent), str(HERE.parent / "support")]  # not this folder, whose modules are those of a package


def main(names: list[str]) -> None:
    """Of every target that can be imported here."""
    from fuzz.registry import all_targets

    for chosen in all_targets(torch=True):
        if names and chosen.name not in names:
            continue
        folder = CORPORA / chosen.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        contents = list(dict.fromkeys(chosen.seeds()))
        for number, content in enumerate(contents):
            if len(content) > chosen.most_bytes:
                raise SystemExit(f"{chosen.name}: a seed of {len(content)} bytes, {chosen.most_bytes} are declared")
            (folder / f"seed-{number:03}").write_bytes(content)
        print(f"{chosen.name}: {len(contents)} seeds, {sum(map(len, contents)):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
