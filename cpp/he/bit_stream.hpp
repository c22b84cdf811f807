// Numbers of alternating widths as a stream of bits, little-endian: ring/bits.hpp for what is wider than a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace deepreduce::he {

class BitWriter {
public:
    explicit BitWriter(std::uint8_t* out) : out_(out) {}

    // value < 2^width, width < 64.
    void put(std::uint64_t value, unsigned width) {
        pending_ |= value << have_;
        have_ += width;
        if (have_ >= 64) {
            std::memcpy(out_, &pending_, 8);
            out_ += 8;
            have_ -= 64;
            pending_ = value >> (width - have_);
        }
    }
    // Pads to a byte.
    void finish() { std::memcpy(out_, &pending_, (have_ + 7) / 8); }

private:
    std::uint8_t* out_;
    std::uint64_t pending_ = 0;
    unsigned have_ = 0;
};

class BitReader {
public:
    BitReader(const std::uint8_t* data, std::size_t bytes) : data_(data), bytes_(bytes) {}

    // The next number, width <= 57; bits beyond the end are 0.
    std::uint64_t get(unsigned width) {
        const std::size_t byte = position_ / 8;
        std::uint64_t word = 0;
        if (byte + 8 <= bytes_) {
            std::memcpy(&word, data_ + byte, 8);
        } else if (byte < bytes_) {
            std::memcpy(&word, data_ + byte, bytes_ - byte);
        }
        word >>= position_ % 8;
        position_ += width;
        return word & ((std::uint64_t{1} << width) - 1);
    }

private:
    const std::uint8_t* data_;
    std::size_t bytes_;
    std::size_t position_ = 0;
};

}  // namespace deepreduce::he
