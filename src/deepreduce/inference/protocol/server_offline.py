"""The server's offline phase but for its claim: keys, answers to encrypted masks, garbling. It knows no socket and no
store, so it runs as well in the session's thread as in a process of its own (server/workers).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Protocol

from ... import _core
from ...plan.execution.schedule import Step
from ..transport.channel import Wire
from ..transport.frames import Kind
from ..transport.meter import Phase
from ..zeroize import wiping_on_error
from .key_setup import Keys, server_batch_labels, server_keys
from .linear import OfflineLinear, add_uploads
from .material import ServerMaterial
from .nonlinear.registry import server_vector
from .nonlinear.vector import Bytes, ServerVector, vector_salts
from .program import Program, Ring

Vectors = dict[Step, list[ServerVector]]
Masks = dict[str, Ring]  # s of every linear op, [batch, ...]


class Offline(Protocol):
    """Offline phase of a session. State moves forward only; it ends with the session."""

    def set_up(self, request: Bytes) -> None:
        """Agrees on keys; ``request``: the content of the client's first SETUP frame. Raises `SessionError`."""

    def run(self, batch_id: bytes) -> tuple[Masks, Vectors]:
        """Return everything between PREPARE and the claims. Raises `SessionError`."""

    def close(self) -> None:
        """The session is over."""


class LocalOffline:
    """Computed here, over ``wire``."""

    def __init__(
        self, program: Program, linears: Mapping[str, OfflineLinear], wire: Wire, threads: int, keys: Keys | None = None
    ) -> None:
        self._program, self._linears, self._wire, self._threads, self._keys = program, linears, wire, threads, keys

    def set_up(self, request: Bytes) -> None:
        """Agrees on keys."""
        self._keys = server_keys(self._wire, self._program.plan, request)

    def run(self, batch_id: bytes) -> tuple[Masks, Vectors]:
        """Return one batch."""
        program = self._program
        assert self._keys is not None  # a preparation is not taken before the set-up
        salts = vector_salts(batch_id)
        vectors = {
            step: [server_vector(p.vector, self._threads, next(salts)) for p in program.parts[step]]
            for level in program.levels
            for step in level
        }
        material = ServerMaterial({}, vectors, b"", Phase())
        try:
            for name in (name for wave in program.waves for name in wave):
                material.linear_masks[name] = self._respond(name, self._keys.he)
            self._garble(vectors, self._keys, batch_id)
        except BaseException:
            material.wipe()
            raise
        return material.linear_masks, vectors

    def close(self) -> None:
        """Forgets the keys."""
        self._keys = None

    def _respond(self, name: str, keys: _core.HeServer) -> Ring:
        """Answers one linear op's encrypted shares, image after image; returns its masks s [batch, ...]."""
        program, wire, ring_bits = self._program, self._wire, self._program.plan.ring.ring_bits
        linear, shape = self._linears[name], program.shapes[name]
        masks: Ring = _core.random_ring(program.batch * prod(shape), ring_bits).reshape(program.batch, -1)
        each: int = _core.he_parameters(ring_bits)["upload_bytes"]
        with wiping_on_error(masks), wire.meter.op(name):
            for image in masks:
                uploads, first = linear.new_uploads(), 0
                for count in linear.layout.upload_frames:
                    content = wire.receive(Kind.UPLOAD, count * each, op=name)
                    add_uploads(uploads, first, count, content, self._threads)
                    first += count
                for frame in linear.respond(keys, uploads, image, self._threads):
                    wire.send(Kind.RESPONSE, frame, op=name)
        return masks.reshape(program.batch, *shape)

    def _garble(self, vectors: Vectors, keys: Keys, batch_id: bytes) -> None:
        wire, ot = self._wire, keys.ot
        if vectors and self._program.protocol == "delphi":  # whose Delta is stored with the batch
            ot = server_batch_labels(wire, keys, batch_id)
        order = [(step.op, v) for level in self._program.levels for step in level for v in vectors[step]]
        for op, v in order:
            with wire.meter.op(op):
                for chunk in v.vector.chunks:
                    choices = wire.receive(Kind.CHOICES, chunk.choices, op=op) if chunk.choices else None
                    wire.send(Kind.GARBLED, v.garble(chunk, choices, ot, keys.reverse), op=op)
        for op, v in order:
            with wire.meter.op(op):
                for chunk in v.vector.chunks:
                    if chunk.products:
                        v.receive_products(chunk, wire.receive(Kind.PRODUCTS, chunk.products, op=op))
