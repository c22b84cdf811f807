// The fused ReLU: a garbled sign whose label keys the rest (docs/reference/protocol.md, "fused").
//
// With y = a + b mod 2^l, a'' and b'' the shares shifted by f (ring/element.hpp), n = window - f: the circuit gives the
// sign of a'' + b'' mod 2^n, s = [not negative], lambda + v = s (xor), v the color that the client sees. Offline one
// product share u + w = lambda a''. Online the client opens one of four elements s (b'' + A B 2^n) + (1 - 2v) u - rho,
// adds v a'' + (1 - 2v) w - r and returns it: the server adds rho and holds relu(y) >> f minus r. All functions are
// constant time; vectors are padded to groups of 16. They keep no state, so the caller sees to it that one garbling
// answers one b: labels for a second one would show Delta.
#pragma once

#include <cstdint>

#include "base/block.hpp"

namespace deepreduce::gc {

struct SignShape {
    unsigned ring_bits;         // l
    unsigned width;             // n
    std::uint64_t first_group;  // number of the first group within its vector
    std::size_t groups;
    unsigned threads;

    std::size_t elements() const { return groups * group_size; }
    std::size_t label_blocks() const { return elements() * width; }
    std::size_t table_blocks() const { return elements() * (width - 1) * 2; }
};

// Server, offline. client_zero: OT outputs, the labels of 0 of the client's bits. seed: of its own labels. Writes tables, the
// four pads of every ReLU, lambda and the colors of the client's sign labels.
void sign_garble(const SignShape& shape, const Delta& delta, HashKey key, Seed seed, const Block* client_zero, Block* tables,
                 std::uint64_t* pads, std::uint16_t* lambda, std::uint16_t* client_color);

// Server, online. b: its shifted shares b''. Writes the labels of its bits and the four masked elements of every ReLU.
void sign_respond(const SignShape& shape, const Delta& delta, Seed seed, const std::uint64_t* b, const std::uint64_t* pads,
                  const std::uint16_t* lambda, const std::uint16_t* client_color, const std::uint64_t* u,
                  const std::uint64_t* rho, Block* labels, std::uint64_t* elements);

// Client, online. a: its shifted shares a''; mask: r. Writes what it returns to the server.
void sign_evaluate(const SignShape& shape, HashKey key, const Block* client_labels, const Block* server_labels,
                   const Block* tables, const std::uint64_t* elements, const std::uint64_t* a, const std::uint64_t* w,
                   const std::uint64_t* mask, std::uint64_t* out);

}  // namespace deepreduce::gc
