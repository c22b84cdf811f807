"""What the client sees beside its share: the flood, with the spread that the security argument counts on.

Every draw is fresh from the operating system. Limits are at 6 standard deviations of the statistic: about 2e-9 of
false alarm each.
"""

import numpy as np
import pytest

from deepreduce import _core
from he_op import Exchange, Op, random_ring

pytestmark = pytest.mark.core


def noise(bits: int, w: int, repeats: int) -> np.ndarray:
    """In units of coefficients after the switch."""
    parameters = _core.he_parameters(bits)
    op = Op(1, 1, 1, (1, 1), (64, 64), 1, 1, parameters["degree"])
    exchange = Exchange(bits, op, np.full((1, 1, 1, 1), w, np.int16))
    rng = np.random.default_rng(1)
    upload = exchange.upload(random_ring(rng, bits, (1, 64, 64)))
    masks = random_ring(rng, bits, 4096)
    parts = [
        exchange.client.noise(exchange.respond(upload, masks), exchange.positions, exchange.offsets)
        for _ in range(repeats)
    ]
    q = np.prod([float(p) for p in parameters["primes"][: parameters["response_primes"]]])
    return np.concatenate(parts) * q / 2 ** (bits + 1)


def expected_variance(bits: int) -> float:
    parameters = _core.he_parameters(bits)
    log_q = 50 * parameters["response_primes"]
    flood = 2.0 ** (2 * (parameters["flood_sd_log2"] - 50))
    cut_c0 = 4.0 ** (log_q - parameters["response_c0_bits"]) / 12
    cut_c1 = 4.0 ** (log_q - parameters["response_c1_bits"]) / 12 * parameters["degree"] * 2 / 3
    return flood + cut_c0 + cut_c1


@pytest.mark.parametrize("w", [0, 2047])
def test_the_flood_is_there(cpu_path, w):
    """At 32 bits: flood sd 2^14.2 of a total of 2^14.3. Without it the noise would be near 2^11."""
    samples = noise(32, w, 8)
    sd = np.sqrt(expected_variance(32))
    assert 2**14.2 < sd < 2**14.35
    # The cut of c1 follows the key's number of nonzero secrets, 2731 +- 30, but is a percent of the whole. The sample
    # variance of 32768 draws has a relative sd of at most sqrt(2 / 32768) = 0.8 %.
    assert abs(samples.var() / sd**2 - 1) < 6 * 0.0079
    assert abs(samples.mean()) < 6 * sd / np.sqrt(samples.size)
    # The sum of four uniforms is flatter than a Gaussian: excess kurtosis -0.3; the rest is Gaussian or small.
    excess = np.mean((samples / samples.std()) ** 4) - 3
    assert abs(excess + 0.3 * (2 ** (2 * (_core.he_parameters(32)["flood_sd_log2"] - 50)) / sd**2) ** 2) < 6 * 0.028


def test_neighboring_coefficients_are_independent():
    samples = noise(32, 0, 8)
    for lag in (1, 2, 64):
        correlation = np.corrcoef(samples[:-lag], samples[lag:])[0, 1]
        assert abs(correlation) < 6 / np.sqrt(samples.size)


@pytest.mark.parametrize("bits", [8, 24, 33, 41, 64])
def test_the_noise_of_every_ring(bits):
    """Small rings cut more bits off than the flood covers; the flood is below, as large as ever."""
    samples = noise(bits, 1, 4)
    # The bits cut off c1 reach all coefficients through one secret: sd of the ratio over 60 keys 0.009 to 0.018.
    assert abs(samples.var() / expected_variance(bits) - 1) < 6 * 0.018


def test_masks_hide_the_result():
    """With a mask fresh and uniform the client's share is uniform: chi-square of the top 6 bits."""
    op = Op(1, 1, 1, (1, 1), (64, 64), 1, 1, 4096)
    exchange = Exchange(32, op, np.full((1, 1, 1, 1), 5, np.int16))
    upload = exchange.upload(np.full((1, 64, 64), 12345, np.uint64))
    rng = np.random.default_rng(2)
    shares = [exchange.decrypt(exchange.respond(upload, random_ring(rng, 32, 4096))) for _ in range(8)]
    counts = np.bincount((np.concatenate(shares) >> np.uint64(26)).astype(np.int64), minlength=64)
    expected = counts.sum() / 64
    assert abs(((counts - expected) ** 2 / expected).sum() - 63) < 6 * np.sqrt(2 * 63)
