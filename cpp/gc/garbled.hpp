// DELPHI's non-linear step as one garbled circuit: shares in, re-shared result out (docs/reference/protocol.md, "delphi").
//
// The evaluator returns colors, which only the garbler can decode: the client knows its next mask, so a decoding table
// would hand it the activation. Exact. All functions are constant time. They keep no state: the caller encodes one b
// for each garbling.
#pragma once

#include <cstdint>

#include "base/block.hpp"
#include "gc/kernels.hpp"

namespace deepreduce::gc {

struct CircuitShape {
    Circuit circuit;
    unsigned ring_bits;  // l
    unsigned shift;      // f, at most l - 2
    std::uint64_t first_group;
    std::size_t groups;
    unsigned threads;

    std::size_t elements() const { return groups * group_size; }
    std::size_t gates() const {
        return circuit == Circuit::relu ? 3 * (ring_bits - 1) - shift : 2 * (ring_bits - 1);
    }
    std::size_t client_label_blocks() const { return elements() * 2 * ring_bits; }
    std::size_t server_label_blocks() const { return elements() * ring_bits; }
    std::size_t table_blocks() const { return elements() * gates() * 2; }
};

// Server, offline: tables, and the colors [group][bit] of the output labels of 0, which decode.
void circuit_garble(const CircuitShape& shape, const Delta& delta, HashKey key, Seed seed, const Block* client_zero,
                    Block* tables, std::uint16_t* colors);

// Server, online: the labels of its shares.
void circuit_encode(const CircuitShape& shape, const Delta& delta, Seed seed, const std::uint64_t* b, Block* labels);

// Client, online: the colors [group][bit] of the output, to be returned.
void circuit_evaluate(const CircuitShape& shape, HashKey key, const Block* client_labels, const Block* server_labels,
                      const Block* tables, std::uint16_t* colors);

}  // namespace deepreduce::gc
