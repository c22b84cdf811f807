"""What breaking the homomorphic parameters costs by the primal attack, for cpp/params/lattice.hpp.

    python bench/core/lattice_estimate.py

Primal uSVP with the secret scaled to the size of the error (Bai and Galbraith 2014), success as estimated by Alkim et
al. 2016 (sd sqrt(beta) <= delta^(2 beta - d - 1) vol^(1/d), the geometric series assumption), delta(beta) by Chen 2013,
cost of BKZ 2^(0.292 beta + 16.4) * 8 d (Becker et al. 2016, as in the tables of the Homomorphic Encryption Standard).
The first and third rows are the standard's own bounds for 128 bits: they show that the model agrees with it. It covers
one attack, the usual best one for these sizes; dual and hybrid attacks are not estimated here.
"""

import math

ROWS = (  # N, log2 q, what
    (4096, 109, "the standard's bound, N = 4096"),
    (4096, 100, "rlwe-4096"),
    (8192, 218, "the standard's bound, N = 8192"),
    (8192, 150, "rlwe-8192"),
)


def log2_delta(beta: int) -> float:
    return math.log2((math.pi * beta) ** (1 / beta) * beta / (2 * math.pi * math.e)) / (2 * (beta - 1))


def block_size(n: int, log_q: float, error_sd: float, secret_sd: float, samples: int) -> int | None:
    """The smallest beta that finds the secret with so many samples."""
    d = n + samples + 1
    log_root = (samples * log_q + n * math.log2(error_sd / secret_sd)) / d

    def succeeds(beta: int) -> bool:
        return math.log2(error_sd) + math.log2(beta) / 2 <= (2 * beta - d - 1) * log2_delta(beta) + log_root

    low, high = 60, d
    if not succeeds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return high


def cheapest(n: int, log_q: float) -> tuple[float, int, int]:
    """Classical bits, block size and samples of the cheapest attack."""
    attacks = []
    for samples in range(n // 2, 3 * n, 16):
        beta = block_size(n, log_q, math.sqrt(21 / 2), math.sqrt(2 / 3), samples)
        if beta is not None:
            attacks.append((0.292 * beta + 16.4 + math.log2(8 * (n + samples + 1)), beta, samples))
    return min(attacks)


if __name__ == "__main__":
    for n, log_q, what in ROWS:
        bits, beta, samples = cheapest(n, log_q)
        print(f"{what}: log2 q = {log_q}: {bits:.1f} bits (beta {beta}, {samples} samples)")
