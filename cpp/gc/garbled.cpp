#include "gc/garbled.hpp"

#include "base/dispatch.hpp"
#include "base/parallel.hpp"
#include "gc/inputs.hpp"

namespace deepreduce::gc {

void circuit_garble(const CircuitShape& shape, const Delta& delta, HashKey key, Seed seed, const Block* client_zero,
                    Block* tables, std::uint16_t* colors) {
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size;
        DEEPREDUCE_PICK(gc).garble(shape.circuit, shape.shift, delta.value, key.value, seed, shape.first_group + first,
                                   last - first, shape.ring_bits, client_zero + from * 2 * shape.ring_bits,
                                   tables + from * shape.gates() * 2, colors + first * shape.ring_bits);
    });
}

void circuit_encode(const CircuitShape& shape, const Delta& delta, Seed seed, const std::uint64_t* b, Block* labels) {
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size;
        encode_shares(delta, seed, shape.first_group + first, last - first, shape.ring_bits, b + from, labels + from * shape.ring_bits);
    });
}

void circuit_evaluate(const CircuitShape& shape, HashKey key, const Block* client_labels, const Block* server_labels,
                      const Block* tables, std::uint16_t* colors) {
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size;
        DEEPREDUCE_PICK(gc).evaluate(shape.circuit, shape.shift, key.value, shape.first_group + first, last - first,
                                     shape.ring_bits, client_labels + from * 2 * shape.ring_bits,
                                     server_labels + from * shape.ring_bits, tables + from * shape.gates() * 2,
                                     colors + first * shape.ring_bits);
    });
}

}  // namespace deepreduce::gc
