// Ring elements as a stream of bits, little-endian: value i is bits [i * bits, (i + 1) * bits) of the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deepreduce::ring {

// Bytes that n values take: ceil(n * bits / 8), for n * bits that fits in a size_t.
constexpr std::size_t packed_bytes(std::size_t n, unsigned bits) { return n / 8 * bits + (n % 8 * bits + 7) / 8; }

// Writes packed_bytes(n, bits) bytes; a value counts mod 2^bits, 1 <= bits <= 64. Constant time in the values.
void pack(const std::uint64_t* values, std::size_t n, unsigned bits, std::uint8_t* out);

// Reads packed_bytes(n, bits) bytes. Constant time in the data. The padding after the last value is ignored here: a
// reader of a peer's bytes asks `padding_is_zero` first, so that equal values have one encoding.
void unpack(const std::uint8_t* data, std::size_t n, unsigned bits, std::uint64_t* values);

bool padding_is_zero(const std::uint8_t* data, std::size_t n, unsigned bits);

}  // namespace deepreduce::ring
