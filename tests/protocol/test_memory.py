"""What is left of secrets in the memory of both parties: another process looks for pieces of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memory_party import VEIL

PARTY = Path(__file__).parents[1] / "support" / "memory_party.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


BLOCK = bytes(1 << 16)


def memory(pid):
    """Everything that the process can write: heap, stacks, anonymous memory; but for blocks of zeros."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if not mode.startswith("rw"):
                continue
            first, last = (int(end, 16) for end in span.split("-"))
            file.seek(first)
            for start in range(first, last, len(BLOCK)):
                part = file.read(min(len(BLOCK), last - start))
                if part != BLOCK[: len(part)]:
                    found += part
            found += BLOCK[:64]  # nothing is found across a gap
    return found


def found_in(pid, secrets):
    content = memory(pid)
    return {name for name, piece in secrets.items() if piece in content}


def look(protocol, ending, folder, extra):
    """{stage: (all names, those found)}"""
    party = subprocess.Popen(
        [sys.executable, PARTY, protocol, ending, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    seen = {}
    with party:
        try:
            for line in party.stdout:
                said = json.loads(line)
                secrets = {name: bytes(b ^ VEIL for b in bytes.fromhex(v)) for name, v in said["secrets"].items()}
                seen[said["stage"]] = set(secrets), found_in(party.pid, {**secrets, **extra})
                party.stdin.write("\n")
                party.stdin.flush()
        finally:
            party.kill()
    return seen


@pytest.mark.parametrize("ending", ["used", "broken", "unused"])
@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_nothing_is_left_of_what_was_used_or_dropped(protocol, ending):
    seen = look(protocol, ending, "", {})
    assert list(seen) == (["prepared", "closed"] if ending == "unused" else ["prepared", "used", "closed"])
    every, there = seen["prepared"]
    assert there == every  # or the search would find nothing anywhere
    assert len(every) >= 14
    if ending == "used":  # the session goes on, and with it its Delta, in its own wiped object
        assert {name.split("/")[-1] for name in seen["used"][1]} <= {"delta"}
    assert seen["closed"][1] == set()


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_what_is_in_the_store_is_not_in_memory(protocol, tmp_path, store_key):
    seen = look(protocol, "used", tmp_path, {"store key": store_key.read_bytes()})
    assert sum("batch key" in name for name in seen["prepared"][0]) == 2
    for stage in ("prepared", "used"):
        assert {name.split("/")[-1] for name in seen[stage][1]} <= {"delta"}
    assert seen["closed"][1] == set()
