"""This machine's processor: its name and the instruction sets that it has."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path


@cache
def processor_name() -> str:
    """Return the model name that the processor reports, else the platform's word for it."""
    return _field("model name") or platform.processor() or platform.machine()


@cache
def processor_flags() -> frozenset[str]:
    """Return the processor's feature flags in Linux's spelling (``avx512_bf16``); empty where they are unknown."""
    return frozenset(_field("flags").split())


def native_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware; elsewhere it is emulated, slower than float32."""
    return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})


def _field(name: str) -> str:
    try:
        found = re.search(rf"^{name}\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
