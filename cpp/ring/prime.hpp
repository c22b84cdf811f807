// A 50-bit prime with the constants that the kernels need, and set-up arithmetic that may take its time.
#pragma once

#include <cstdint>

#include "base/declassify.hpp"
#include "params/lattice.hpp"

namespace deepreduce::ring {

using u64 = std::uint64_t;
using i64 = std::int64_t;
using u128 = unsigned __int128;

// A fixed factor f, prepared for both kinds of words.
//
// 64-bit words, Shoup's method (Harvey, "Faster arithmetic for number-theoretic transforms", 2014): `quotient` is
// floor(f 2^64 / p), and x f - floor(x quotient / 2^64) p is x f mod p, or that + p.
//
// 52-bit words (IFMA), Montgomery's: `raised` is f 2^52 mod p, `low` is raised / p mod 2^52. Then m = x low mod 2^52
// makes the low halves of x raised and of m p equal, and the difference of the high halves is x f mod p, or that - p.
struct Factor {
    u64 value = 0, quotient = 0, raised = 0, low = 0;
};

// Products are reduced by Montgomery's method with R = 2^52 on every path: what must be multiplied element by element
// (weights, keys) is stored times R.
inline constexpr unsigned montgomery_bits = 52;

// Public numbers only: these use `%`, which takes a time that depends on its operands.
constexpr u64 multiply_public(u64 a, u64 b, u64 p) { return static_cast<u64>(static_cast<u128>(a) * b % p); }

constexpr u64 power_public(u64 base, u64 exponent, u64 p) {
    u64 result = 1;
    for (; exponent; exponent >>= 1, base = multiply_public(base, base, p)) {
        if (exponent & 1) result = multiply_public(result, base, p);
    }
    return result;
}

constexpr u64 inverse_public(u64 a, u64 p) { return power_public(a, p - 2, p); }

// The inverse of an odd number modulo 2^64: Newton's step doubles the number of right bits, 3 to begin with.
constexpr u64 inverse_mod_2_64(u64 odd) {
    u64 inverse = odd;
    for (int step = 0; step < 5; ++step) inverse *= 2 - odd * inverse;
    return inverse;
}

constexpr u64 montgomery_mask = (u64{1} << montgomery_bits) - 1;

constexpr Factor factor_public(u64 value, u64 p) {
    const u64 quotient = static_cast<u64>((static_cast<u128>(value) << 64) / p);
    const u64 raised = static_cast<u64>((static_cast<u128>(value) << montgomery_bits) % p);
    return {value, quotient, raised, raised * inverse_mod_2_64(p) & montgomery_mask};
}

struct Prime {
    u64 p;
    u64 fold;             // 2^50 mod p = 2^50 - p, below 2^21
    u64 negated_inverse;  // -p^-1 mod 2^52
    Factor r;             // 2^52 mod p: into Montgomery form
    Factor two32, two64;  // 2^32, 2^64 mod p: reduce wider numbers limb by limb

    constexpr explicit Prime(u64 prime)
        : p(prime),
          fold((u64{1} << lattice::prime_bits) - prime),
          negated_inverse((0 - inverse_mod_2_64(prime)) & montgomery_mask),
          r(factor_public(power_public(2, montgomery_bits, prime), prime)),
          two32(factor_public(u64{1} << 32, prime)),
          two64(factor_public(power_public(2, 64, prime), prime)) {}
};

// A constant-time a * f mod p, canonical, for any 64-bit a: for the few places that are not worth a kernel.
inline u64 multiply(u64 a, const Factor& f, u64 p) {
    u64 quotient = static_cast<u64>((static_cast<u128>(a) * f.quotient) >> 64);
    keep_secret(&quotient, &a, sizeof a);
    const u64 lazy = a * f.value - quotient * p - p;  // in [-p, p)
    return lazy + (p & (u64{0} - (lazy >> 63)));
}

}  // namespace deepreduce::ring
