// Numbers of any width packed without gaps, least significant bit first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace deepreduce {

inline constexpr std::size_t packed_bytes(std::size_t count, std::size_t width) { return (count * width + 7) / 8; }

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
    // Pads to a byte; returns the end.
    std::uint8_t* finish() {
        const std::size_t bytes = (have_ + 7) / 8;
        std::memcpy(out_, &pending_, bytes);
        out_ += bytes;
        pending_ = have_ = 0;
        return out_;
    }

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
    // The bits that pad the last byte are zero, as the writer leaves them.
    bool padding_is_zero() const { return position_ % 8 == 0 || data_[bytes_ - 1] >> (position_ % 8) == 0; }

private:
    const std::uint8_t* data_;
    std::size_t bytes_;
    std::size_t position_ = 0;
};

}  // namespace deepreduce
