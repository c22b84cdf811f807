// Division of a shared number by 2^f with one OT an element (docs/reference/protocol.md, "rescale").
//
// The client adds 2^(l-2) and 2^f - 1 (it rounds up), so that for -2^(l-2) - 2^f < y <= 2^(l-2) - 2^f the top bit of
// the sum is 0; then the carry of the two shares is A or B, their top bits, and y >> f = a'' + b'' + A B 2^(l-f) -
// 2^(l-2-f) with a'', b'' the shares shifted as signed numbers. Offline g = q + c A mod 2^f (ot/product.hpp), c a
// random bit of the server. Online the server sends d = B xor c and the client returns its part of the sum minus its
// next mask r; the error is strictly below one unit. One use of c, q and g: a second d would show the difference of two
// B. All functions are constant time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deepreduce::ot {

struct RescaleShape {
    unsigned ring_bits;  // l
    unsigned shift;      // f in 1..l - 2
    std::size_t elements;
};

// Client, offline: its shares a plus 2^(l-2), rounded up, shifted, signed; and their top bits A.
void rescale_client_shares(const RescaleShape& shape, const std::uint64_t* shares, std::uint64_t* a, std::uint64_t* negative);

// Server, online: d = B xor c, packed, for its shares b; c packed.
void rescale_open(const RescaleShape& shape, const std::uint64_t* shares, const std::uint8_t* c, std::uint8_t* d);

// Client, online: what it returns. share: its product share, -q.
void rescale_answer(const RescaleShape& shape, const std::uint64_t* a, const std::uint64_t* share, const std::uint8_t* d,
                    const std::uint64_t* mask, std::uint64_t* out);

// Server, online: its new share, y >> f minus the mask. product: its product share g.
void rescale_close(const RescaleShape& shape, const std::uint64_t* shares, const std::uint64_t* product, const std::uint8_t* d,
                   const std::uint64_t* answer, std::uint64_t* out);

}  // namespace deepreduce::ot
