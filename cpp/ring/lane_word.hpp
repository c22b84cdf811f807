// One residue in one 64-bit word. Include from polynomials_*.cpp only.
#pragma once

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define DEEPREDUCE_WORDS_WATCHED 1
#endif
#endif

#include "ring/bits.hpp"
#include "ring/prime.hpp"

namespace deepreduce::ring {
// Unnamed on purpose: every polynomials_*.cpp is compiled with other instructions and must keep its own copy.
namespace {

// (a b) >> shift, shift at least 52. MemorySanitizer would take it for public whatever a and b are: it joins the
// operands' secret bits where they stand (tests/constant_time).
inline u64 product_shifted(u64 a, u64 b, unsigned shift) {
    u64 result = static_cast<u64>((static_cast<u128>(a) * b) >> shift);
#ifdef DEEPREDUCE_WORDS_WATCHED
    if (__msan_test_shadow(&a, sizeof a) >= 0 || __msan_test_shadow(&b, sizeof b) >= 0) {
        __msan_allocated_memory(&result, sizeof result);
    }
#endif
    return result;
}

struct WordLane {
    using Value = u64;
    struct Sum {
        u128 total;
    };
    static constexpr std::size_t width = 1;
    static constexpr unsigned layers = 2;        // of the transform at a time: what the registers hold
    static constexpr std::size_t dot_lanes = 4;  // values of one polynomial that `dot` sums at a time

    static u64 load(const u64* p) { return *p; }
    static u64 load_small(const std::int8_t* p) { return static_cast<u64>(static_cast<i64>(*p)); }
    static u64 gather(const u64* p, const std::uint32_t* places) { return p[*places]; }
    static void store(u64* p, u64 x) { *p = x; }
    static u64 all(u64 x) { return x; }
    static u64 add(u64 a, u64 b) { return a + b; }
    static u64 subtract(u64 a, u64 b) { return a - b; }
    static u64 bits_and(u64 a, u64 b) { return a & b; }
    static u64 shift_right(u64 a, unsigned n) { return a >> n; }
    static u64 multiply_low(u64 a, u64 b) { return a * b; }
    // m for negative numbers, 0 for others.
    static u64 if_negative(u64 x, u64 m) { return m & static_cast<u64>(static_cast<i64>(x) >> 63); }
    // x - m where that is not negative, else x; x, m < 2^63.
    static u64 reduce_once(u64 x, u64 m) { return x - m + if_negative(x - m, m); }

    struct Multiplier {
        u64 value, quotient;
    };
    static Multiplier multiplier(const Factor& f) { return {f.value, f.quotient}; }
    static Multiplier broadcast(const Factors& f, std::size_t i) { return {f.values[i], f.quotients[i]}; }
    static Multiplier load(const Factors& f, std::size_t i) { return {f.values[i], f.quotients[i]}; }
    // x f mod p in [0, 2p), for any x.
    static u64 multiply(u64 x, const Multiplier& f, u64 p) {
        return x * f.value - product_shifted(x, f.quotient, 64) * p;
    }

    static void prefetch(const u64*) {}
    static Sum zero() { return {0}; }
    static void add_product(Sum& sum, u64 a, u64 b) { sum.total += static_cast<u128>(a) * b; }
    // The sum split at bit 52.
    static void split(const Sum& sum, u64& low, u64& high) {
        low = static_cast<u64>(sum.total) & ((u64{1} << 52) - 1);
        high = static_cast<u64>(sum.total >> 52);
    }
    // Low and high 52 bits of a product of 52-bit numbers.
    static u64 product_low(u64 a, u64 b) { return (a * b) & ((u64{1} << 52) - 1); }
    static u64 product_high(u64 a, u64 b) { return product_shifted(a, b, 52); }

    static void transpose(u64 (&)[8]) {}
    static void pack(const u64* x, std::size_t n, unsigned bits, std::uint8_t* out) { ring::pack(x, n, bits, out); }
    static void unpack(const std::uint8_t* data, std::size_t n, unsigned bits, u64* x) {
        ring::unpack(data, n, bits, x);
    }
};

}  // namespace
}  // namespace deepreduce::ring
