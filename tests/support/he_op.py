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
    packed: int = 1

    @property
    def blocks_in(self) -> int:
        return -(-self.inputs // self.block_channels)

    @property
    def blocks_out(self) -> int:
        return -(-self.outputs // self.block_outputs)

    @property
    def responses(self) -> int:
        return -(-self.blocks_out // self.packed)

    @property
    def levels(self) -> list[int]:
        """Levels of the packing keys, first merge first."""
        spacings = [self.block_channels >> merge for merge in range(1, self.packed.bit_length())]
        return [(spacing & -spacing).bit_length() - 1 for spacing in spacings]

    @property
    def out(self) -> tuple[int, int]:
        return self.area[0] - self.kernel[0] + 1, self.area[1] - self.kernel[1] + 1

    def polynomials(self, x: np.ndarray) -> np.ndarray:
        """x: uint64 [inputs, area_h, area_w] -> uint64 [blocks_in, N]."""
        area = self.area[0] * self.area[1]
        polynomials = np.zeros((self.blocks_in, self.degree), np.uint64)
        assert self.block_channels * area <= self.degree
        for channel in range(self.inputs):
            block, c = divmod(channel, self.block_channels)
            polynomials[block, c : c + self.block_channels * area : self.block_channels] = x[channel].reshape(-1)
        return polynomials

    def useful(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Useful coefficients of all responses, rising in each, where each response begins, and the flattened place of
        each coefficient in the outputs.
        """
        area = self.area[0] * self.area[1]
        i, k = np.meshgrid(*map(np.arange, self.out), indexing="ij")
        one = ((i + self.kernel[0] - 1) * self.area[1] + k + self.kernel[1] - 1).reshape(-1)
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.responses)]
        for output in range(self.outputs):
            block, m = divmod(output, self.block_outputs)
            response, product = divmod(block, self.packed)
            at = self.block_channels * (m * area + one) + product * (self.block_channels // self.packed)
            found[response] += [(int(position), output * one.size + n) for n, position in enumerate(at)]
        pairs = np.array([pair for response in found for pair in sorted(response)])
        cuts = np.cumsum([0, *map(len, found)])
        return pairs[:, 0].astype(np.int32), cuts.astype(np.int64), pairs[:, 1]

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
        op, self.client = self.op, _core.HeClient(self.bits)
        keys = self.client.public_key() + self.client.packing_keys(op.levels)
        self.server = _core.HeServer(self.bits, keys, op.levels)
        self.weights = _core.HeWeights(
            self.bits, self.w, op.groups, *op.area, op.block_channels, op.block_outputs, op.packed, 2, self.cached
        )
        self.positions, self.offsets, self.places = op.useful()

    def upload(self, x: np.ndarray, threads: int = 1):
        upload = _core.HeUpload(self.bits, self.op.blocks_in)
        upload.add(self.client.encrypt(self.op.polynomials(x), threads), threads)
        return upload

    def respond(self, upload, masks: np.ndarray, threads: int = 1) -> bytes:
        return self.server.respond(
            self.weights, upload, 0, self.op.responses, self.positions, self.offsets, masks, threads
        )

    def decrypt(self, responses: bytes, threads: int = 1) -> np.ndarray:
        return self.client.decrypt_many(responses, self.positions, self.offsets, threads)

    def expected(self, x: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """What the client should have: ``masks`` are in the order of the coefficients."""
        return (self.op.convolve(x, self.w).reshape(-1)[self.places] - masks) & np.uint64(2**self.bits - 1)
