// Arithmetic on polynomials modulo a 50-bit prime: one table of functions per CPU path, with the same results bit for
// bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ring/ntt.hpp"

namespace deepreduce::ring {

// Evaluation points that `dot` takes at a time: what a path can accumulate in registers.
inline constexpr std::size_t dot_width = 32;
// Products that `dot` may sum: 2^12 sums of 52-bit halves fit 64 bits.
inline constexpr std::size_t max_dot_terms = 4095;

namespace polynomials {

// Residues are canonical, in [0, p), before and after each call. n is a multiple of 8; arrays that are written are
// aligned to 64 bytes. No function branches on, or indexes by, the contents of an array.
struct Kernels {
    // In place; natural order of coefficients to the order of evaluations in ntt.hpp, and back.
    void (*forward)(u64* x, const Ntt& ntt);
    void (*inverse)(u64* x, const Ntt& ntt);
    // out = a b / 2^52, element by element; out may be a or b.
    void (*multiply)(u64* out, const u64* a, const u64* b, std::size_t n, const Prime& prime);
    // x = x f, for any x < 2^52
    void (*scale)(u64* x, const Factor& f, std::size_t n, const Prime& prime);
    void (*add)(u64* x, const u64* y, std::size_t n, const Prime& prime);
    void (*subtract)(u64* x, const u64* y, std::size_t n, const Prime& prime);
    // a = (a + b c / 2^52) / 2 and difference = (a - b c / 2^52) / 2 mod p
    void (*halves)(u64* a, u64* difference, const u64* b, const u64* c, std::size_t n, const Prime& prime);
    // x[i] = x[i] + y[places[i]]; places, which are public, are below n.
    void (*add_permuted)(u64* x, const u64* y, const std::uint32_t* places, std::size_t n, const Prime& prime);
    // out0, out1 [32] = (sum over j < terms of w[j] x[j][0 or 1] + u key[0 or 1]) / 2^52; w is [terms][32], `stride`
    // words from term to term, x is [terms][2][32], u is [32], key is [2][32].
    void (*dot)(u64* out0, u64* out1, const u64* w, std::size_t stride, const u64* x, std::size_t terms, const u64* u,
                const u64* key, const Prime& prime);
    // out = small mod p;  x = x + small mod p
    void (*embed)(u64* out, const std::int8_t* small, std::size_t n, const Prime& prime);
    void (*add_small)(u64* x, const std::int8_t* small, std::size_t n, const Prime& prime);
    // out = round(q m / 2^l) mod p, halves up, q_low = q mod 2^64. With r = (q m + 2^(l-1)) mod 2^l this is
    // (q m + 2^(l-1) - r) / 2^l = (2^(l-1) - r) 2^-l mod p, since p divides q. `inverse` is 2^-l mod p.
    void (*encode)(u64* out, const u64* m, std::size_t n, u64 q_low, unsigned ring_bits, const Factor& inverse,
                   const Prime& prime);
    // x = x + (sum of four uniforms on [-2^bits, 2^bits)), 64 <= bits < 80; words is [5][n] uniform: four times the low
    // 64 bits, then the four 16-bit tops, of which bits - 63 are used.
    void (*add_flood)(u64* x, const u64* words, std::size_t n, unsigned bits, const Factor& center, const Prime& prime);
    // x = round((value) / d) mod p, where value is x mod p and last mod d. `inverse` is d^-1 mod p.
    void (*switch_down)(u64* x, const u64* last, std::size_t n, u64 dropped, const Factor& inverse, const Prime& prime);
    // Samples from uniform words, one each: centered binomial with eta = 21; uniform on {-1, 0, 1} up to 2^-62.
    void (*errors)(std::int8_t* out, const u64* words, std::size_t n);
    void (*ternary)(std::int8_t* out, const u64* words, std::size_t n);
    // ring::pack and ring::unpack, for any n.
    void (*pack)(const u64* x, std::size_t n, unsigned width, std::uint8_t* out);
    void (*unpack)(const std::uint8_t* data, std::size_t n, unsigned width, u64* x);
    // Whether x < bound for all, x and bound below 2^63.
    bool (*all_below)(const u64* x, std::size_t n, u64 bound);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace polynomials

// Those of the CPU path in use.
const polynomials::Kernels& polynomial_kernels();

}  // namespace deepreduce::ring
