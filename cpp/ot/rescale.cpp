#include "ot/rescale.hpp"

#include <cstring>

#include "ring/element.hpp"

namespace deepreduce::ot {
namespace {

std::uint64_t bit(const std::uint8_t* bits, std::size_t i) { return (bits[i / 8] >> (i % 8)) & 1; }

}  // namespace

void rescale_client_shares(const RescaleShape& shape, const std::uint64_t* shares, std::uint64_t* a, std::uint64_t* negative) {
    const std::uint64_t offset = ring::power(shape.ring_bits - 2) + ring::power(shape.shift) - 1;
    for (std::size_t i = 0; i < shape.elements; ++i) {
        a[i] = ring::shift_share(shares[i], shape.ring_bits, shape.shift, shape.ring_bits - shape.shift, offset);
        negative[i] = a[i] >> 63;
    }
}

void rescale_open(const RescaleShape& shape, const std::uint64_t* shares, const std::uint8_t* c, std::uint8_t* d) {
    std::memcpy(d, c, (shape.elements + 7) / 8);
    for (std::size_t i = 0; i < shape.elements; ++i) {
        const auto top = static_cast<std::uint8_t>((shares[i] >> (shape.ring_bits - 1)) & 1);
        d[i / 8] ^= static_cast<std::uint8_t>(top << (i % 8));
    }
}

void rescale_answer(const RescaleShape& shape, const std::uint64_t* a, const std::uint64_t* share, const std::uint8_t* d,
                    const std::uint64_t* mask, std::uint64_t* out) {
    const std::uint64_t ring = ring::mask(shape.ring_bits), offset = ring::power(shape.ring_bits - 2 - shape.shift);
    for (std::size_t i = 0; i < shape.elements; ++i) {
        const std::uint64_t flip = -bit(d, i);
        // d A - (1 - 2d) q, with share = -q mod 2^f: multiples of 2^f vanish against 2^(l-f).
        const std::uint64_t product = ((a[i] >> 63) & flip) + ((share[i] ^ flip) - flip);
        out[i] = (a[i] + (product << (shape.ring_bits - shape.shift)) - offset - mask[i]) & ring;
    }
}

void rescale_close(const RescaleShape& shape, const std::uint64_t* shares, const std::uint64_t* product, const std::uint8_t* d,
                   const std::uint64_t* answer, std::uint64_t* out) {
    const std::uint64_t ring = ring::mask(shape.ring_bits);
    for (std::size_t i = 0; i < shape.elements; ++i) {
        const std::uint64_t flip = -bit(d, i);
        const std::uint64_t b = ring::shift_share(shares[i], shape.ring_bits, shape.shift, shape.ring_bits - shape.shift, 0);
        out[i] = (answer[i] + b + (((product[i] ^ flip) - flip) << (shape.ring_bits - shape.shift))) & ring;
    }
}

}  // namespace deepreduce::ot
