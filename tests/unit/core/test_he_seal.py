"""The same products by an independent implementation: Microsoft SEAL, through tenseal's bindings."""

import numpy as np
import pytest

from deepreduce import _core
from he_op import Exchange, Op, random_ring

sealapi = pytest.importorskip("tenseal.sealapi")


class Seal:
    """BFV with a power-of-two plaintext modulus: no batching, coefficients as they are."""

    def __init__(self, degree: int, bits: int, primes: list[int]):
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(degree)
        parameters.set_coeff_modulus([sealapi.Modulus(p) for p in primes])
        parameters.set_plain_modulus(sealapi.Modulus(2**bits))
        self.context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        assert self.context.parameters_set()
        keys = sealapi.KeyGenerator(self.context)
        public = sealapi.PublicKey()
        keys.create_public_key(public)
        self.encryptor = sealapi.Encryptor(self.context, public)
        self.decryptor = sealapi.Decryptor(self.context, keys.secret_key())
        self.evaluator = sealapi.Evaluator(self.context)
        self.degree = degree

    @staticmethod
    def plain(coefficients: np.ndarray):
        terms = [f"{int(c):X}x^{i}" if i else f"{int(c):X}" for i, c in enumerate(coefficients) if c]
        return sealapi.Plaintext(" + ".join(reversed(terms)) or "0")

    def product(self, x: np.ndarray, w: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """x * w - masks in Z_2^bits[X] / (X^N + 1): x encrypted, w and masks plain."""
        encrypted, result = sealapi.Ciphertext(self.context), sealapi.Plaintext()
        self.encryptor.encrypt(self.plain(x), encrypted)
        self.evaluator.multiply_plain_inplace(encrypted, self.plain(w))
        self.evaluator.sub_plain_inplace(encrypted, self.plain(masks))
        self.decryptor.decrypt(encrypted, result)
        values = np.zeros(self.degree, np.uint64)
        for i in range(result.coeff_count()):
            values[i] = result[i]
        return values


@pytest.mark.parametrize("bits", [20, 32])
def test_plaintext_ciphertext_products(cpu_path, bits):
    """One channel block by one output block is one multiply_plain: equal shares coefficient by coefficient."""
    rng = np.random.default_rng(bits)
    parameters = _core.he_parameters(bits)
    op = Op(2, 3, 1, (3, 3), (9, 8), 3, 2, parameters["degree"])
    w = rng.integers(-2047, 2048, (2, 3, 3, 3)).astype(np.int16)
    exchange = Exchange(bits, op, w)
    x, masks = random_ring(rng, bits, (3, 9, 8)), random_ring(rng, bits, exchange.positions.size)

    weights = np.zeros(op.degree, np.uint64)
    for m in range(2):
        for c in range(3):
            for u in range(3):
                for v in range(3):
                    at = 3 * (m * 72 + (2 - u) * 8 + 2 - v) - c
                    # X^-1 is -X^(N - 1).
                    weights[at] = (int(w[m, c, u, v]) if at >= 0 else -int(w[m, c, u, v])) % 2**bits
    spread = np.zeros(op.degree, np.uint64)
    spread[exchange.positions] = masks
    # SEAL reserves its last prime for keys, which leaves the first two to ciphertexts.
    seal = Seal(op.degree * 2, bits, _core.he_parameters(64)["primes"])
    padded = [np.concatenate([a, np.zeros(op.degree, np.uint64)]) for a in (op.polynomials(x)[0], weights, spread)]
    product = seal.product(*padded)
    wrapped = (product[: op.degree] - product[op.degree :]) & np.uint64(2**bits - 1)
    shares = exchange.decrypt(exchange.respond(exchange.upload(x), masks))
    assert np.array_equal(shares, wrapped[exchange.positions])


def test_negacyclic_products(cpu_path):
    """The transform against SEAL's: a product of two random polynomials modulo the plaintext modulus 2^32."""
    rng = np.random.default_rng(3)
    degree = 4096
    a, b = (rng.integers(0, 2**15, degree, np.uint64) for _ in range(2))
    seal = Seal(degree * 2, 45, _core.he_parameters(64)["primes"])
    padded = [np.concatenate([p, np.zeros(degree, np.uint64)]) for p in (a, b, 0 * a)]
    product = seal.product(*padded).astype(object)
    expected = product[:degree] - product[degree:]
    for prime in _core.he_parameters(64)["primes"]:
        ours = _core.he_negacyclic_product(prime, a, b)
        assert [int(v) for v in ours] == [int(v) % prime for v in expected]
