// The homomorphic parameter sets. Every constant here is SECURITY (never tuned) or AGREEMENT (both sides must match).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace deepreduce::lattice {

// Ring Z_q[X] / (X^N + 1), plaintexts modulo t = 2^l in the coefficients, uniform ternary secrets, errors from the
// centered binomial distribution with eta = 21 (sd 3.24, |e| <= 21).
//
// Source of the sizes: Albrecht et al., "Homomorphic Encryption Standard" (2018; ePrint 2019/939), table 1: uniform
// ternary secret, sd 3.2, 128-bit classical security: log2 q <= 109 for N = 4096 and <= 218 for N = 8192. Estimates for
// the sets below (`bench/core/lattice_estimate.py`: primal uSVP, sieving at 2^(0.292 beta + 16.4 + log2 8d), the model that
// gives 128 bits at the standard's own 109 and 218): see `classical_bits` and `block_size`.
struct Set {
    const char* name;
    std::size_t degree;                     // N
    std::size_t primes;                     // of q, each of exactly 50 bits
    std::size_t response_primes;            // left after the server's modulus switch; the last ones are dropped
    unsigned min_ring_bits, max_ring_bits;  // l
    // The flood is the sum of four uniform integers on [-2^flood_bits, 2^flood_bits), before the switch. Fixed per set:
    // a flood that followed the model would tell its norms.
    unsigned flood_bits;
    // sqrt(B) must not exceed 2^max_log2_norm, B = sum over all outputs of one inference of the squared norm of the
    // weights of the output's block: all that its product is multiplied by.
    double max_log2_norm;
    double classical_bits;  // cost of the best attack that was estimated, log2 of operations
    unsigned block_size;    // its BKZ block size beta
};

inline constexpr unsigned prime_bits = 50;
// The largest primes below 2^50 that are 1 mod 2^14, hence 1 mod 2N for both sets. Close to 2^50 on purpose: reducing
// modulo p folds the high bits down with one small product.
inline constexpr std::array<std::uint64_t, 3> primes = {1125899906826241, 1125899906629633, 1125899905744897};

inline constexpr unsigned error_eta = 21;
inline constexpr double error_sd = 3.2403703492039302;  // sqrt(21 / 2)
inline constexpr std::size_t seed_bytes = 16;

// A response keeps this many bits above l in c1 (all coefficients) and in c0 (useful ones): AGREEMENT.
inline constexpr unsigned response_c1_bits = 12;
inline constexpr unsigned response_c0_bits = 6;

// rlwe-8192 has room: at l = 64 the flood may take 2^83 and still decrypt (see `budget` in he/weights.cpp), 2^79 leaves
// half of that free and hides norms up to 2^32 at 2^-46; int16 weights of any network that fits in memory stay below.
inline constexpr Set rlwe_4096 = {"rlwe-4096", 4096, 2, 1, 2, 32, 64, 24.4, 140.7, 371};
inline constexpr Set rlwe_8192 = {"rlwe-8192", 8192, 3, 2, 33, 64, 79, 32.0, 194.8, 553};

constexpr const Set& set_for(unsigned ring_bits) {
    return ring_bits <= rlwe_4096.max_ring_bits ? rlwe_4096 : rlwe_8192;
}

// Four uniforms on 2^(flood_bits + 1) integers each.
inline double flood_sd(const Set& set) {
    return 2.0 * std::ldexp(1.0, static_cast<int>(set.flood_bits) + 1) / std::sqrt(12.0);
}

// log2 of the statistical distance, per inference, between the client's view and one that has no weights in it, at
// sqrt(B) = 2^log2_norm.
//
// The client knows the errors e of its own upload, which are on all coefficients; a useful coefficient j carries d_j =
// <w, e + rounding of the encoding>, w all weights of its block, plus the rounding of the server's mask, under a flood
// with density f. Squared Hellinger distance of f to
// its shift by d: at most d^2 I / 8, I = the Fisher information of f; it adds over coefficients, and TV <= sqrt(2) H,
// so TV <= 1/2 sqrt(I) sqrt(sum d_j^2). For four uniforms sqrt(I) = 1.0191 / sd. E sum d_j^2 = 3.2532^2 B,
// with 3.2532^2 = 21/2 + 1/12 (mask rounding, at most 1/4 per coefficient, is below the next digit for any output with
// a weight).
//
// The encryption of zero that hides c1 adds e u + e1 sk to the noise; the argument that c1 comes without hints on u and
// e1 needs the flood to hide it, too: variance error_sd^2 2 N 2/3 per output, whatever the weights.
inline double zero_noise_variance(const Set& set) {
    return error_sd * error_sd * (4.0 / 3.0 * static_cast<double>(set.degree));
}
// What `outputs` such noises add to B.
inline double zero_noise_norm(const Set& set, double outputs) { return outputs * zero_noise_variance(set) / (3.2532 * 3.2532); }

inline double log2_distance(const Set& set, double log2_norm) {
    return std::log2(0.5 * 1.0191 * 3.2532 / flood_sd(set)) + log2_norm;
}

}  // namespace deepreduce::lattice
