#include "ring/bits.hpp"

#include <bit>
#include <cstring>

namespace deepreduce::ring {

static_assert(std::endian::native == std::endian::little, "words are written to the stream as they lie in memory");

namespace {

// Widths that are whole machine words are plain conversions, which the compiler vectorizes.
template <class Word>
void pack_words(const std::uint64_t* values, std::size_t n, std::uint8_t* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const Word word = static_cast<Word>(values[i]);
        std::memcpy(out + i * sizeof word, &word, sizeof word);
    }
}

template <class Word>
void unpack_words(const std::uint8_t* data, std::size_t n, std::uint64_t* values) {
    for (std::size_t i = 0; i < n; ++i) {
        Word word;
        std::memcpy(&word, data + i * sizeof word, sizeof word);
        values[i] = word;
    }
}

}  // namespace

void pack(const std::uint64_t* values, std::size_t n, unsigned bits, std::uint8_t* out) {
    switch (bits) {
        case 8: return pack_words<std::uint8_t>(values, n, out);
        case 16: return pack_words<std::uint16_t>(values, n, out);
        case 32: return pack_words<std::uint32_t>(values, n, out);
        case 64: return pack_words<std::uint64_t>(values, n, out);
        default: break;
    }
    if (n == 0) return;  // then there may be no memory to write to
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
    std::uint64_t word = 0;
    unsigned filled = 0;  // bits of `word`; it and the branches on it depend on positions only
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t value = values[i] & mask;
        word |= value << filled;
        filled += bits;
        if (filled >= 64) {
            std::memcpy(out, &word, 8);
            out += 8;
            filled -= 64;
            word = filled ? value >> (bits - filled) : 0;
        }
    }
    std::memcpy(out, &word, (filled + 7) / 8);
}

void unpack(const std::uint8_t* data, std::size_t n, unsigned bits, std::uint64_t* values) {
    switch (bits) {
        case 8: return unpack_words<std::uint8_t>(data, n, values);
        case 16: return unpack_words<std::uint16_t>(data, n, values);
        case 32: return unpack_words<std::uint32_t>(data, n, values);
        case 64: return unpack_words<std::uint64_t>(data, n, values);
        default: break;
    }
    if (n == 0) return;
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
    const auto read = [mask](const std::uint8_t* from, std::size_t bit) {
        std::uint64_t low;
        std::memcpy(&low, from + bit / 8, 8);
        const std::uint64_t ninth = from[bit / 8 + 8];
        return (low >> bit % 8 | ninth << 1 << (63 - bit % 8)) & mask;
    };
    const std::size_t size = packed_bytes(n, bits), bits_in_place = size < 9 ? 0 : (size - 8) * 8;
    std::size_t i = 0, bit = 0;
    for (; bit < bits_in_place && i < n; ++i, bit += bits) values[i] = read(data, bit);
    // What is left lies in the last 8 bytes: read from a copy with room for the 9 bytes from anywhere in it.
    std::uint8_t rest[17] = {};
    std::memcpy(rest, data + bit / 8, size - bit / 8);
    for (bit %= 8; i < n; ++i, bit += bits) values[i] = read(rest, bit);
}

bool padding_is_zero(const std::uint8_t* data, std::size_t n, unsigned bits) {
    const unsigned used = n % 8 * bits % 8;
    return used == 0 || data[packed_bytes(n, bits) - 1] >> used == 0;
}

}  // namespace deepreduce::ring
