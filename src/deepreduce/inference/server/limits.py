"""Server-wide memory budget, free memory, and per-address rate limit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from ..transport.errors import BusyError
from ..transport.limit import Limit, LimitKind

RETRY_S = 5  # for memory, which is free when clients use what they have
ADDRESSES = 1 << 16  # whose rate is remembered


class MemoryBudget:
    """Bytes of prepared material that sessions may hold together, as predicted."""

    def __init__(self, most: int) -> None:
        self._most, self._booked = most, 0
        self._guard = threading.Lock()

    def book(self, size: int) -> None:
        """Raises `BusyError` when so much is not left."""
        with self._guard:
            if self._booked + size > self._most:
                raise BusyError(RETRY_S, limit=Limit(LimitKind.MEMORY))
            self._booked += size

    def has(self, size: int) -> bool:
        """Return whether so much is left."""
        return self._booked + size <= self._most

    def release(self, size: int) -> None:
        """Gives it back."""
        with self._guard:
            self._booked -= size


def free_memory() -> int:
    """Return the bytes that the machine and this process's group (cgroup) still have for it."""
    found = [_number(Path("/proc/meminfo"), "MemAvailable:") * 1024]
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # without a group, or without a limit ("max")
        most, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(max(0, most - used))
    return min(found)


def _number(path: Path, label: str) -> int:
    """Return the number behind a label of a file of Linux; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(label):
                return int(line.split()[1])
    return 0


class RateLimit:
    """A bucket of tokens for each address: ``per_minute`` come in evenly, as many may be saved up. None: no limit."""

    def __init__(self, per_minute: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at what time
        self._guard = threading.Lock()

    def take(self, address: str) -> bool:
        """Return whether the address may do one more thing now."""
        if self._per_minute is None:
            return True
        address, most = rated(address), max(1.0, self._per_minute)
        with self._guard:
            now = self._now()
            tokens, then = self._buckets.pop(address, (most, now))
            tokens = min(most, tokens + (now - then) * self._per_minute / 60)
            allowed = tokens >= 1
            self._buckets[address] = (tokens - allowed, now)
            while len(self._buckets) > ADDRESSES:  # the one that was quiet for longest has the fullest bucket
                self._buckets.popitem(last=False)
            return allowed

    def give_back(self, address: str) -> None:
        """Take it as not done."""
        if self._per_minute is None:
            return
        address, most = rated(address), max(1.0, self._per_minute)
        with self._guard:
            tokens, then = self._buckets.get(address, (most, self._now()))
            self._buckets[address] = (min(most, tokens + 1), then)


def rated(address: str) -> str:
    """Whose rate it is: an IPv6 host has a whole network of addresses."""
    with contextlib.suppress(ValueError):
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
            return f"{int(found) >> 64:x}/64"
    return address
