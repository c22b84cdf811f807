"""Pools of a server's prepared material: in memory, for one connection, or in a store."""

from __future__ import annotations

from typing import Protocol

from ...errors import SessionError
from ..protocol.material import ServerMaterial
from ..protocol.program import Program
from ..store import LostBatchError, Purpose, ServerStore


class BatchError(SessionError):
    """The client named material that is not there, or not the same."""


class ServerPool(Protocol):
    """The server's, of one session."""

    stored: bool

    def count_in_memory(self) -> int:
        """Return how many batches take memory of this session."""

    def is_in_memory(self, batch_id: bytes) -> bool:
        """Return whether a batch of that id does."""

    def put(self, batch_id: bytes, material: ServerMaterial) -> None:
        """Keeps a batch. Raises `StoreError`."""

    def take(self, batch_id: bytes, transcript: bytes) -> ServerMaterial:
        """Return the batch, which from now on counts as used.

        Raises `BatchError` if there is none of that id for this client, if it was prepared differently, or if it is
        damaged; `StoreError` where the store cannot tell.
        """

    def clear(self) -> None:
        """The session has ended."""


class ServerMemoryPool:
    """Batches of one session."""

    stored = False

    def __init__(self) -> None:
        self._batches: dict[bytes, ServerMaterial] = {}

    def count_in_memory(self) -> int:
        """Return how many batches there are."""
        return len(self._batches)

    def is_in_memory(self, batch_id: bytes) -> bool:
        """Return whether a batch of that id is here."""
        return batch_id in self._batches

    def put(self, batch_id: bytes, material: ServerMaterial) -> None:
        """Keeps a batch."""
        self._batches[batch_id] = material

    def take(self, batch_id: bytes, transcript: bytes) -> ServerMaterial:
        """Return the batch, no longer here."""
        return _same(self._batches.pop(batch_id, None), transcript)

    def clear(self) -> None:
        """Material ends with its session."""
        for material in self._batches.values():
            material.wipe()
        self._batches.clear()


class ServerStoredPool:
    """The batches of a store that belong to one client, whatever it made them for."""

    stored = True

    def __init__(self, store: ServerStore, purpose: Purpose, program: Program, threads: int) -> None:
        self._store, self._purpose, self._program, self._threads = store, purpose, program, threads

    def count_in_memory(self) -> int:
        """Return 0: all are on the disk, where the store counts them."""
        return 0

    def is_in_memory(self, batch_id: bytes) -> bool:
        """Return False: all are on the disk, where the store refuses an id twice."""
        return False

    def put(self, batch_id: bytes, material: ServerMaterial) -> None:
        """On the disk when this returns, and nowhere else."""
        plain = material.plain()
        try:
            self._store.add(batch_id, self._purpose, material.transcript, plain)
        finally:
            plain.wipe()

    def take(self, batch_id: bytes, transcript: bytes) -> ServerMaterial:
        """Return the batch, burnt on the disk."""
        try:
            claimed = self._store.claim(batch_id, self._purpose.peer)
        except LostBatchError as error:
            raise BatchError(f"the client's batch cannot be read: {error.message}") from error
        if claimed is None or claimed.purpose != self._purpose:
            if claimed is not None:
                claimed.plain.wipe()
            return _same(None, transcript)
        return _same(
            ServerMaterial.restored(self._program, claimed.plain, claimed.transcript, self._threads), transcript
        )

    def clear(self) -> None:
        """The store keeps its batches."""


def _same(material: ServerMaterial | None, transcript: bytes) -> ServerMaterial:
    if material is None or material.transcript != transcript:
        if material is not None:
            material.wipe()
        raise BatchError("the client named a batch that is not prepared, or was prepared differently")
    return material
