"""Linear ops: offline W r - s by homomorphic encryption, online W (x - r) + s in plain integers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...errors import PlanError, SessionError
from ...plan import PARAMETER_SETS, Conv, Linear, Packing, Plan, packings
from ...plan.execution.messages import HE_FRAME
from ...plan.execution.packing import cached_ops, response_bytes
from ...plan.execution.polynomials import noise_norm, pack_input, pack_weights, useful_coefficients
from ..zeroize import wipe, wiping

Ring = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


class PackingLayout:
    """A packing as the kernels want it: where each response's values sit, and how responses fall into frames."""

    def __init__(self, packing: Packing, ring_bits: int) -> None:
        self.packing = packing
        self.upload_frames = [min(HE_FRAME, packing.uploads - first) for first in range(0, packing.uploads, HE_FRAME)]
        self._sizes = response_bytes(packing, ring_bits)

    @cached_property
    def _useful(self) -> list[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        return [useful_coefficients(self.packing, i) for i in range(self.packing.responses)]

    def warm(self) -> None:
        """Finds now what is slow to find, before a fork."""
        _ = self.value_order

    def response_frames(self) -> Iterator[tuple[int, int, int]]:
        """(first response, responses, bytes) of every frame."""
        for first in range(0, self.packing.responses, HE_FRAME):
            count = min(HE_FRAME, self.packing.responses - first)
            yield first, count, sum(self._sizes[first : first + count])

    def cuts(self, first: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Positions of the values of ``count`` responses from ``first`` on, in turn, and where each begins."""
        chosen = [positions for positions, _ in self._useful[first : first + count]]
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in chosen])]).astype(np.int64)
        return np.ascontiguousarray(np.concatenate(chosen)), offsets

    @cached_property
    def value_order(self) -> NDArray[np.int64]:
        """Return, for every value of all responses in turn, its place in the flattened output of one image."""
        return np.concatenate([places for _, places in self._useful])


def encrypted_input(layout: PackingLayout, share: Ring, keys: _core.HeClient, threads: int) -> Iterator[bytes]:
    """Yield the frames of one image's operand [C, H, W] or [C]."""
    polynomials = pack_input(layout.packing, share)
    with wiping(polynomials):
        for first in range(0, len(polynomials), HE_FRAME):
            yield keys.encrypt(np.ascontiguousarray(polynomials[first : first + HE_FRAME]), threads)


class Decrypted:
    """Collects the values of one image's responses into the client's share of the output."""

    def __init__(self, layout: PackingLayout) -> None:
        self._layout = layout
        self._values: list[Ring] = []

    def add(self, keys: _core.HeClient, first: int, count: int, content: Bytes, threads: int) -> None:
        """One frame."""
        positions, offsets = self._layout.cuts(first, count)
        try:
            self._values.append(keys.decrypt_many(content, positions, offsets, threads))
        except ValueError as error:
            raise SessionError(f"the server sent a damaged answer: {error}", "connect again") from None

    def output(self) -> Ring:
        """[O * H_o * W_o], when all frames have arrived."""
        values = np.concatenate(self._values)
        out = np.empty_like(values)
        out[self._layout.value_order] = values
        wipe(values, *self._values)
        return out


class OnlineLinear:
    """One linear op of the server on the client's masked values: its weights in plain integers."""

    def __init__(self, plan: Plan, op: Conv | Linear, packing: Packing, weights: Mapping[str, NDArray[Any]]) -> None:
        ring_bits, weight = plan.ring.ring_bits, weights[f"{op.name}.weight"]
        self._mask = np.uint64(2**ring_bits - 1)
        bias = weights.get(f"{op.name}.bias")
        self._bias = None if bias is None else np.ascontiguousarray(bias).view(np.uint64) & self._mask
        spatial = weight if weight.ndim == 4 else weight[:, :, None, None]
        self._stride, self._padding = (op.stride, op.padding) if isinstance(op, Conv) else ((1, 1), (0, 0, 0, 0))
        self._weights = _core.LinearWeights(np.ascontiguousarray(spatial), _groups(op), ring_bits)
        self.outputs = packing.outputs * packing.out_h * packing.out_w
        self.noise_norm = noise_norm(packing, weight)

    def apply(self, operand: Ring, share: Ring, threads: int) -> Ring:
        """W (x - r) + bias + s for shares [batch, ...]; ``share``: s, of the output's shape."""
        spatial = operand if operand.ndim == 4 else operand[:, :, None, None]
        y = self._weights.convolve(np.ascontiguousarray(spatial), self._bias, self._stride, self._padding, threads)
        result: Ring = (y.reshape(share.shape) + share) & self._mask
        return result


class OfflineLinear:
    """One linear op of the server on the client's encrypted masks. ``cached``: its weights are transformed once, which
    takes much memory, not for every response.
    """

    def __init__(
        self,
        plan: Plan,
        op: Conv | Linear,
        packing: Packing,
        weights: Mapping[str, NDArray[Any]],
        threads: int,
        cached: bool = True,
    ) -> None:
        self._ring_bits = plan.ring.ring_bits
        self.layout = PackingLayout(packing, self._ring_bits)
        self._weights = _core.HeWeights(
            self._ring_bits,
            np.ascontiguousarray(pack_weights(packing, weights[f"{op.name}.weight"])),
            _groups(op),
            packing.area_h,
            packing.area_w,
            packing.block_channels,
            packing.block_outputs,
            packing.packed,
            threads,
            cached,
        )

    def respond(
        self, keys: _core.HeServer, uploads: list[_core.HeUpload], share: Ring, threads: int
    ) -> Iterator[bytes]:
        """Yield the frames W r - s of one image; ``share``: s, flattened."""
        responses = self.layout.packing.tile_responses
        ordered = share[self.layout.value_order]
        at = 0
        with wiping(ordered):
            for first, count, _ in self.layout.response_frames():
                content = []
                while count:
                    # Responses of one call belong to one tile.
                    tile, index = divmod(first, responses)
                    here = min(count, responses - index)
                    positions, offsets = self.layout.cuts(first, here)
                    masks = ordered[at : at + len(positions)]
                    content.append(
                        keys.respond(self._weights, uploads[tile], index, here, positions, offsets, masks, threads)
                    )
                    at += len(positions)
                    first, count = first + here, count - here
                yield b"".join(content)

    def new_uploads(self) -> list[_core.HeUpload]:
        """Empty uploads of one image, one per tile."""
        packing = self.layout.packing
        return [_core.HeUpload(self._ring_bits, packing.channel_blocks) for _ in range(packing.tiles)]


def online_linears(plan: Plan, weights: Mapping[str, NDArray[Any]]) -> dict[str, OnlineLinear]:
    """Return all linear ops of a plan, for predicting. Raises `PlanError` where the weights are too large to be
    hidden.
    """
    packed = packings(plan)
    linears = {op.name: OnlineLinear(plan, op, packed[op.name], weights) for op in _linear_ops(plan)}
    try:
        norm = sum(linear.noise_norm for linear in linears.values())
        _core.he_check_norm(plan.ring.ring_bits, norm, sum(linear.outputs for linear in linears.values()))
    except ValueError as error:
        raise PlanError(
            str(error), "use fewer weight bits, a ring of more than 32 bits, or a slower link's layout"
        ) from None
    return linears


def offline_linears(
    plan: Plan, weights: Mapping[str, NDArray[Any]], threads: int, max_bytes: int
) -> dict[str, OfflineLinear]:
    """Return all linear ops of a plan, for preparing; transformed weights take at most ``max_bytes``.

    Raises `PlanError` where the weights do not fit their encoding.
    """
    packed, linears = packings(plan), {}
    cached = cached_ops(packed, PARAMETER_SETS[plan.parameter_set], max_bytes)
    for op in _linear_ops(plan):
        try:
            linears[op.name] = OfflineLinear(plan, op, packed[op.name], weights, threads, op.name in cached)
        except ValueError as error:
            raise PlanError(f"op {op.name!r}: {error}", "use fewer weight bits") from None
    return linears


def _linear_ops(plan: Plan) -> list[Conv | Linear]:
    return [op for op in plan.ops if isinstance(op, Conv | Linear)]


def _groups(op: Conv | Linear) -> int:
    return op.groups if isinstance(op, Conv) else 1


def computation(plan_digest: str, weights: Mapping[str, NDArray[Any]]) -> str:
    """Names a plan with its weights: SHA-256, in hexadecimal."""
    found = hashlib.sha256(plan_digest.encode())
    for name in sorted(weights):
        found.update(name.encode() + b"\0")
        found.update(memoryview(np.ascontiguousarray(weights[name]).reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    return found.hexdigest()


def add_uploads(uploads: list[_core.HeUpload], first: int, count: int, content: Bytes, threads: int) -> None:
    """One frame of uploads first, ..., first + count - 1, tile after tile."""
    each, at = len(content) // count, 0
    blocks = uploads[0].blocks
    while count:
        tile, block = divmod(first, blocks)
        here = min(count, blocks - block)
        try:
            uploads[tile].add(content[at * each : (at + here) * each], threads)
        except ValueError as error:
            raise SessionError(f"the client sent damaged ciphertexts: {error}") from None
        at, first, count = at + here, first + here, count - here
