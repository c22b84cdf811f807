"""Pools of a client's prepared material: in memory, for one connection, or in a store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from ...units import show_bytes
from ..protocol.material import ClientMaterial
from ..protocol.program import Program
from ..store import ClientStore, Purpose, StoreFullError
from ..store.encrypted_file import expected_bytes


class ClientPool(Protocol):
    """The client's."""

    stored: bool  # outlives the connection

    def __len__(self) -> int:
        """Batches that are ready."""

    def check_room(self, size: int) -> None:
        """Raise `StoreFullError` unless one more batch, of about ``size`` bytes, may be kept."""

    def put(self, batch_id: bytes, material: ClientMaterial) -> None:
        """Keeps a batch. Raises `StoreError`."""

    def take(self) -> tuple[bytes, ClientMaterial] | None:
        """Return the oldest batch, which from now on counts as used; None if there is none."""

    def clear(self) -> None:
        """The connection has ended."""


class ClientMemoryPool:
    """Batches of one connection, at most ``max_bytes`` of them."""

    stored = False

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._batches: OrderedDict[bytes, ClientMaterial] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._batches)

    def check_room(self, size: int) -> None:
        """Count all batches as of that size, which those of one connection are."""
        if (len(self._batches) + 1) * size > self._max_bytes:
            raise StoreFullError(
                f"{len(self._batches)} predictions are prepared in memory, one more takes {show_bytes(size)}, "
                f"{show_bytes(self._max_bytes)} are allowed",
                "use what is prepared, or allow more: `max_store_bytes`",
            )

    def put(self, batch_id: bytes, material: ClientMaterial) -> None:
        """Keeps a batch."""
        with self._lock:
            self._batches[batch_id] = material

    def take(self) -> tuple[bytes, ClientMaterial] | None:
        """Return the oldest batch."""
        with self._lock:
            return self._batches.popitem(last=False) if self._batches else None

    def clear(self) -> None:
        """Material ends with its connection."""
        with self._lock:
            for material in self._batches.values():
                material.wipe()
            self._batches.clear()


class ClientStoredPool:
    """The batches of a store that fit one server, plan, protocol and batch size."""

    stored = True

    def __init__(self, store: ClientStore, purpose: Purpose, program: Program, threads: int) -> None:
        self._store, self._purpose, self._program, self._threads = store, purpose, program, threads

    def __len__(self) -> int:
        return self._store.count(self._purpose)

    def check_room(self, size: int) -> None:
        """Count what the store has for other servers and plans, too."""
        self._store.check_room(self._purpose, expected_bytes(size))

    def put(self, batch_id: bytes, material: ClientMaterial) -> None:
        """On the disk when this returns, and nowhere else."""
        plain = material.plain()
        try:
            self._store.add(batch_id, self._purpose, material.transcript, plain)
        finally:
            plain.wipe()

    def take(self) -> tuple[bytes, ClientMaterial] | None:
        """Return the oldest batch, burnt on the disk."""
        claimed = self._store.claim_next(self._purpose)
        if claimed is None:
            return None
        material = ClientMaterial.restored(self._program, claimed.plain, claimed.transcript, self._threads)
        return claimed.batch_id, material

    def clear(self) -> None:
        """The store keeps its batches."""
