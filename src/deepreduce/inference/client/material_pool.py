"""Pools of a client's prepared material: in memory, for one connection, or in a store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from ..protocol.material import ClientMaterial
from ..protocol.program import Program
from ..store import ClientStore, Purpose


class ClientPool(Protocol):
    """The client's."""

    stored: bool  # outlives the connection

    def __len__(self) -> int:
        """Batches that are ready."""

    def put(self, batch_id: bytes, material: ClientMaterial) -> None:
        """Keeps a batch. Raises `StoreError`."""

    def take(self) -> tuple[bytes, ClientMaterial] | None:
        """Return the oldest batch, which from now on counts as used; None if there is none."""

    def clear(self) -> None:
        """The connection has ended."""


class ClientMemoryPool:
    """Batches of one connection."""

    stored = False

    def __init__(self) -> None:
        self._batches: OrderedDict[bytes, ClientMaterial] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._batches)

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
