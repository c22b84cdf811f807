// Elements of Z_2^l in 64-bit words.
#pragma once

#include <cstdint>

namespace deepreduce::ring {

// l low bits; bits in 1..64.
inline std::uint64_t mask(unsigned bits) { return ~std::uint64_t{0} >> (64 - bits); }

// The low `width` bits as a two's complement number, sign-extended to the word. width in 1..64.
inline std::uint64_t sign_extend(std::uint64_t value, unsigned width) {
    const unsigned up = 64 - width;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << up) >> up);
}

// 2^exponent in the word: 0 from 2^64 on.
inline std::uint64_t power(unsigned exponent) { return exponent < 64 ? std::uint64_t{1} << exponent : 0; }

// The high part of a share without its `shift` low bits, as a two's complement number of `width` bits.
inline std::uint64_t shift_share(std::uint64_t value, unsigned bits, unsigned shift, unsigned width) {
    return sign_extend((value & mask(bits)) >> shift, width);
}

}  // namespace deepreduce::ring
