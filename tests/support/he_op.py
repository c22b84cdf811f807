"""A convolution laid out for the homomorphic phase, slowly: what plan/execution/packing.py does fast, for tests and
benches.
"""

from dataclasses import dataclass

import numpy as np

from deepreduce import _core


@dataclass(frozen=True)
class Op:
    """A valid convolution of stride 1 on one tile, cut into polynomials of N coefficients."""

    outputs: int
    inputs: int
    groups: int
    kernel: tuple[int, int]
    area: tuple[int, int]
    block_channels: int
    block_outputs: int
    degree: int

    @property
    def blocks_in(self) -> int:
        return -(-self.inputs // self.block_channels)

    @property
    def blocks_out(self) -> int:
        return -(-self.outputs // self.block_outputs)

    @property
    def out(self) -> tuple[int, int]:
        return self.area[0] - self.kernel[0] + 1, self.area[1] - self.kernel[1] + 1

    def polynomials(self, x: np.ndarray) -> np.ndarray:
        """x: uint64 [inputs, area_h, area_w] -> uint64 [blocks_in, N]."""
        area = self.area[0] * self.area[1]
        polynomials = np.zeros((self.blocks_in, self.degree), np.uint64)
        for j in range(self.blocks_in):
            block = x[j * self.block_channels : (j + 1) * self.block_channels].reshape(-1)
            polynomials[j, : block.size] = block
        assert self.block_channels * area <= self.degree
        return polynomials

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Useful coefficients of all responses, in the order of the outputs, and where each response begins."""
        area = self.area[0] * self.area[1]
        i, k = np.meshgrid(*map(np.arange, self.out), indexing="ij")
        one = ((i + self.kernel[0] - 1) * self.area[1] + k + self.kernel[1] - 1).reshape(-1)
        cuts, positions = [0], []
        for b in range(self.blocks_out):
            for m in range(min(self.block_outputs, self.outputs - b * self.block_outputs)):
                positions.append(((m + 1) * self.block_channels - 1) * area + one)
            cuts.append(sum(p.size for p in positions))
        return np.concatenate(positions).astype(np.int32), np.array(cuts, np.int64)

    def convolve(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The integer convolution modulo 2^64: uint64 [outputs, out_h, out_w]."""
        y = np.zeros((self.outputs, *self.out), np.uint64)
        per_in, per_out = self.inputs // self.groups, self.outputs // self.groups
        w64 = w.astype(np.int64).astype(np.uint64)
        for o in range(self.outputs):
            channels = x[o // per_out * per_in :][:per_in]
            for u in range(self.kernel[0]):
                for v in range(self.kernel[1]):
                    window = channels[:, u : u + self.out[0], v : v + self.out[1]]
                    y[o] += (window * w64[o, :, u, v, None, None]).sum(0, dtype=np.uint64)
        return y


def random_ring(rng: np.random.Generator, bits: int, shape: int | tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2**64 - 1, shape, np.uint64, endpoint=True) & np.uint64(2**bits - 1)


@dataclass
class Exchange:
    """Both parties of one operation on one tile."""

    bits: int
    op: Op
    w: np.ndarray
    cached: bool = True

    def __post_init__(self):
        self.client = _core.HeClient(self.bits)
        self.server = _core.HeServer(self.bits, self.client.public_key())
        op = self.op
        self.weights = _core.HeWeights(
            self.bits, self.w, op.groups, *op.area, op.block_channels, op.block_outputs, 2, self.cached
        )
        self.positions, self.offsets = op.positions()

    def upload(self, x: np.ndarray, threads: int = 1):
        upload = _core.HeUpload(self.bits, self.op.blocks_in)
        upload.add(self.client.encrypt(self.op.polynomials(x), threads), threads)
        return upload

    def respond(self, upload, masks: np.ndarray, threads: int = 1) -> bytes:
        return self.server.respond(
            self.weights, upload, 0, self.op.blocks_out, self.positions, self.offsets, masks, threads
        )

    def decrypt(self, responses: bytes, threads: int = 1) -> np.ndarray:
        return self.client.decrypt_many(responses, self.positions, self.offsets, threads)

    def expected(self, x: np.ndarray, masks: np.ndarray) -> np.ndarray:
        return (self.op.convolve(x, self.w).reshape(-1) - masks) & np.uint64(2**self.bits - 1)
