"""The compiled half of deepreduce: bytes in, bytes out, no sockets."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy
from numpy.typing import NDArray


def cpu_paths() -> list[str]:
    """Kernel paths that this CPU can run, slowest first."""

def cpu_path() -> str:
    """The kernel path in use."""

def select_cpu_path(name: str) -> None:
    """Use one kernel path from now on (ValueError where the CPU lacks it)."""

def aes_ctr(seed: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first: int, high: int, count: int) -> NDArray[numpy.uint8]:
    """
    uint8 [count, 16]: AES-128 under `seed` of the blocks (first + i, high), little-endian words.
    """

def random_ring(count: int, bits: int) -> NDArray[numpy.uint64]:
    """
    uint64 [count]: uniform elements of Z_2^bits from a fresh seed of the operating system.
    """

def wipe_residue() -> None:
    """
    Overwrites what kernels have left in registers and on the stack of this thread.
    """

def bench_aes(blocks: int) -> NDArray[numpy.uint8]:
    """
    Encrypts `blocks` blocks (a multiple of 32) in registers alone, 32 chains of AES-128 under the key zero that start
    from (0, 0) .. (31, 0); uint8 [16] is the sum of their ends. For timing the path in use.
    """

class Delta:
    """The offset of free XOR and choice of an OT sender (secret)."""

    @staticmethod
    def random() -> Delta:
        """From the operating system."""

    def bits(self) -> NDArray[numpy.uint8]:
        """uint8 [128]: the choice bits of the base OTs (secret)."""

    def to_bytes(self) -> NDArray[numpy.uint8]:
        """
        uint8 [16] (secret): for a store of finished material, and nothing else.
        """

    @staticmethod
    def from_bytes(delta: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)]) -> Delta:
        """The inverse of to_bytes."""

class OtReceiver:
    """Receiver of the OT extension; made from both keys of 128 base OTs."""

    def __init__(self, k: int, pads: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)]) -> None: ...

    @property
    def set_up(self) -> NDArray[numpy.uint8]:
        """uint8: the message for the sender."""

    def extend(self, choices: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], out: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu')], threads: int = 1) -> NDArray[numpy.uint8]:
        """
        choices uint8 [n/8], one bit per OT; writes t_i = q_i ^ c_i Delta to out uint8 [16 n]; returns the correction for the sender.
        """

class OtSender:
    """
    Sender of the OT extension; made from the key that each bit of Delta chose.
    """

    def __init__(self, k: int, delta: Delta, pads: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], set_up: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)]) -> None: ...

    @property
    def delta(self) -> Delta: ...

    def extend(self, count: int, correction: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> NDArray[numpy.uint8]:
        """uint8 [count, 16]: q_i."""

def product_send(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_group: int, bits: int, delta: Delta, q: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], values: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> tuple[NDArray[numpy.uint64], NDArray[numpy.uint64]]:
    """
    (message, share) uint64: shares of choice * value mod 2^bits, the owner of the values' side.
    """

def product_receive(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_group: int, bits: int, t: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], choices: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], message: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> NDArray[numpy.uint64]:
    """
    uint64: shares of choice * value mod 2^bits, the owner of the choice bits' side.
    """

ROW_SHIFT: int = 40

class Digits:
    """
    Digits of a comparison, the least significant first: bits of each, and whether equality is needed.
    """

    def __init__(self, widths: Sequence[int], equals: Sequence[int]) -> None: ...

    def table_bytes(self, elements: int) -> int: ...

    def opening_bytes(self, elements: int) -> int: ...

def table_pads_send(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_row: int, first_group: int, digits: Digits, delta: Delta, q: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], greater: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], equal: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> NDArray[numpy.uint8]:
    """
    uint8: pads of all entries plus the client's shares, in the layout of the tables.
    """

def table_pads_receive(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_row: int, first_group: int, digits: Digits, t: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], choices: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> NDArray[numpy.uint8]:
    """
    uint8: pads of the entries that were chosen, a row for greater and one for equal of each digit.
    """

def table_open(digits: Digits, numbers: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], choices: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint8]:
    """uint8: digits of the server's numbers less its choices."""

def table_answer(digits: Digits, numbers: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], opening: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], pads: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu')]) -> None:
    """Turns the pads into the client's message."""

def table_read(digits: Digits, tables: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], choices: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], pads: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8]]:
    """(greater, equal) uint8 [digits, elements / 8]: the server's shares."""

def bit_pads_send(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_row: int, first_group: int, delta: Delta, q: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> tuple[NDArray[numpy.uint8], NDArray[numpy.uint8]]:
    """
    (zero, one) uint8 [rows, 2, elements / 8]: two random bits for either choice of each transfer.
    """

def bit_pads_receive(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_row: int, first_group: int, t: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> NDArray[numpy.uint8]:
    """uint8 [rows, 2, elements / 8]: the bits chosen."""

def select_pads_send(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], row: int, first_group: int, selectors: int, delta: Delta, q: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> NDArray[numpy.uint64]:
    """
    uint64 [2^selectors, elements]: a random word for each combination of choices.
    """

def select_pads_receive(key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], row: int, first_group: int, selectors: int, t: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], elements: int, threads: int = 1) -> NDArray[numpy.uint64]:
    """uint64 [elements]: the words chosen."""

def elements_mask(ring_bits: int, shift: int, width: int, b: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], sign: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], carry: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], moved_sign: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], moved_carry: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], masked_sign: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], u: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], rho: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], pads: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
    """uint64 [2^selectors elements]: the server's masked elements."""

def elements_open(ring_bits: int, shift: int, width: int, a: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], sign: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], masked_sign: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], chosen: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], w: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], mask: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], pad: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], elements: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
    """uint64 [elements]: what the client returns."""

def shift_shares(shares: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], ring_bits: int, shift: int, width: int) -> NDArray[numpy.uint64]:
    """uint64: signed_width(share mod 2^l >> shift), sign-extended."""

def bit_slice(values: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], width: int) -> NDArray[numpy.uint16]:
    """
    uint16 [groups, width]: bit i of word j is bit j of value i of the group.
    """

def bit_unslice(bits: Annotated[NDArray[numpy.uint16], dict(order='C', device='cpu', writable=False)], width: int) -> NDArray[numpy.uint64]:
    """The inverse of bit_slice: uint64 [16 groups]."""

def circuit_garble(circuit: str, ring_bits: int, shift: int, delta: Delta, key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], seed: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_group: int, client_zero: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], tables: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu')], threads: int = 1) -> NDArray[numpy.uint16]:
    """
    Server, offline: writes the tables; returns the colors uint16 [g, l] that decode the output.
    """

def circuit_encode(ring_bits: int, delta: Delta, seed: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_group: int, b: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], labels: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu')], threads: int = 1) -> None:
    """Server, online: writes the labels of its shares."""

def circuit_evaluate(circuit: str, ring_bits: int, shift: int, key: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], first_group: int, client_labels: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], server_labels: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], tables: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> NDArray[numpy.uint16]:
    """Client, online: the colors uint16 [g, l] that it returns."""

def he_parameters(ring_bits: int) -> dict[str, Any]:
    """
    Sizes (bytes), distributions and security figures of the homomorphic parameter set of the ring Z_2^ring_bits.
    """

def he_response_bytes(ring_bits: int, useful: int) -> int:
    """Bytes of one response that carries `useful` coefficients."""

def he_check_norm(ring_bits: int, norm_squared: float, outputs: float) -> None:
    """
    ValueError if B = sum over all outputs of one inference of ||w_j||^2 is too large for the flood to hide.
    """

def he_negacyclic_product(prime: int, a: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], b: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
    """
    a * b modulo X^N + 1 and the prime, uint64 [N] each, by the transform of the current CPU path.
    """

class HeClient:
    """
    The client of the homomorphic phase, with fresh keys; wiped when it goes.
    """

    def __init__(self, ring_bits: int) -> None: ...

    def public_key(self) -> bytes:
        """The message that opens a session: bytes [public_key_bytes]."""

    def packing_keys(self, levels: Sequence[int]) -> bytes:
        """
        What merges at odd multiples of 2^level coefficients need: bytes [len(levels) * packing_key_bytes]. Fresh randomness every time.
        """

    def encrypt(self, polynomials: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> bytes:
        """
        polynomials: uint64 [n, N], modulo 2^l. Returns n uploads, bytes [n * upload_bytes].
        """

    def decrypt(self, response: object, positions: Annotated[NDArray[numpy.int32], dict(order='C', device='cpu', writable=False)]) -> NDArray[numpy.uint64]:
        """
        One response with the coefficients positions (int32 [k]). Returns uint64 [k], modulo 2^l.
        """

    def decrypt_many(self, responses: object, positions: Annotated[NDArray[numpy.int32], dict(order='C', device='cpu', writable=False)], offsets: Annotated[NDArray[numpy.int64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> NDArray[numpy.uint64]:
        """
        Responses one after the other; response i has positions[offsets[i]:offsets[i + 1]] (int32 [k], int64 [n + 1]). Returns uint64 [k], modulo 2^l.
        """

    def noise(self, responses: object, positions: Annotated[NDArray[numpy.int32], dict(order='C', device='cpu', writable=False)], offsets: Annotated[NDArray[numpy.int64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> NDArray[numpy.float64]:
        """
        The noise of each value as a part of what decryption bears: float64 [k] in [-1, 1].
        """

class HeWeights:
    """
    A linear operation's weight polynomials (cpp/he/weights.hpp has the layout).
    """

    def __init__(self, ring_bits: int, w: Annotated[NDArray[numpy.int16], dict(order='C', device='cpu', writable=False)], groups: int, area_h: int, area_w: int, block_channels: int, block_outputs: int, packed: int = 1, threads: int = 1, cached: bool = True) -> None:
        """
        w: int16 [outputs, inputs / groups, kernel_h, kernel_w]. cached: evaluations are kept, else computed for every response. ValueError if it does not fit or its noise could be too large.
        """

    @property
    def norm_squared(self) -> float:
        """
        Sum over the outputs of one whole tile of the squared norm of their block's weights.
        """

    @property
    def worst_noise(self) -> float:
        """Bound of the noise as a part of what decryption bears, below 1."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def blocks_in(self) -> int: ...

    @property
    def blocks_out(self) -> int: ...

    @property
    def responses(self) -> int: ...

class HeUpload:
    """
    The uploads of one tile as the server multiplies by them. Add from one thread at a time.
    """

    def __init__(self, ring_bits: int, blocks: int) -> None: ...

    def add(self, uploads: object, threads: int = 1) -> None:
        """The next whole uploads, in the order of channel blocks."""

    @property
    def received(self) -> int: ...

    @property
    def blocks(self) -> int: ...

class HeServer:
    """The server of the homomorphic phase for one client's keys."""

    def __init__(self, ring_bits: int, keys: object, levels: Sequence[int] = []) -> None:
        """keys: the public key, then the packing keys of these levels."""

    def respond(self, weights: HeWeights, upload: HeUpload, first: int, count: int, positions: Annotated[NDArray[numpy.int32], dict(order='C', device='cpu', writable=False)], offsets: Annotated[NDArray[numpy.int64], dict(order='C', device='cpu', writable=False)], masks: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], threads: int = 1) -> bytes:
        """
        Responses first to first + count - 1, bytes. Response i carries the outputs at positions[offsets[i]:offsets[i + 1]] (int32 [k] strictly increasing within a response, int64 [count + 1]) less masks (uint64 [k]), modulo 2^l. Fresh randomness every time.
        """

class LinearWeights:
    """
    Weights of a convolution (or, 1x1, a fully connected layer), packed for the kernels.

    weights: int16 [O, C / groups, kh, kw], above -2**15; the ring is Z mod 2**ring_bits, 1 to 64.
    """

    def __init__(self, weights: Annotated[NDArray[numpy.int16], dict(order='C', device='cpu', writable=False)], groups: int = 1, ring_bits: int = 32) -> None: ...

    def convolve(self, x: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)] | None = None, stride: tuple[int, int] = (1, 1), padding: tuple[int, int, int, int] = (0, 0, 0, 0), threads: int = 1) -> NDArray[numpy.uint64]:
        """
        The exact cross-correlation mod 2**ring_bits plus bias: x uint64 [B, C, H, W], bias uint64 [O] or None
        -> uint64 [B, O, Ho, Wo]. stride (vertical, horizontal), padding (top, bottom, left, right) with zeros.
        Elements of x and bias count mod 2**ring_bits. Constant time in x, bias and weights.
        """

    @property
    def ring_bits(self) -> int: ...

def pack(values: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], bits: int) -> NDArray[numpy.uint8]:
    """
    values uint64 [n], each mod 2**bits (1 to 64) -> uint8 [ceil(n * bits / 8)], little-endian. Constant time.
    """

def pack_into(values: Annotated[NDArray[numpy.uint64], dict(order='C', device='cpu', writable=False)], bits: int, out: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu')]) -> None:
    """As pack, into out uint8 [ceil(n * bits / 8)]."""

def unpack(data: Annotated[NDArray[numpy.uint8], dict(order='C', device='cpu', writable=False)], n: int, bits: int) -> NDArray[numpy.uint64]:
    """
    The n values uint64 that pack() wrote. ValueError where data's length differs or bits after the last value
    are set.
    """

def bench_multiply_add_peak(ring_bits: int = 32) -> float:
    """
    Ring multiply-adds per second of one thread in registers alone, on the path in use.
    """
