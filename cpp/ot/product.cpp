#include "ot/product.hpp"

#include <vector>

#include "base/dispatch.hpp"
#include "base/parallel.hpp"
#include "ot/kernels.hpp"

namespace deepreduce::ot {

static std::uint64_t ring_mask(unsigned bits) { return ~std::uint64_t{0} >> (64 - bits); }

void product_send(HashKey key, std::uint64_t first_group, std::size_t groups, unsigned bits, const Delta& delta, const Block* q,
                  const std::uint64_t* values, std::uint64_t* message, std::uint64_t* share, unsigned threads) {
    const std::uint64_t mask = ring_mask(bits);
    parallel_for(groups, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, to = last * group_size;
        DEEPREDUCE_PICK(ot).hash(key.value, first_group + first, last - first, q + from, &delta.value, share + from,
                                 message + from);
        for (std::size_t i = from; i < to; ++i) {
            message[i] = (share[i] - message[i] + values[i]) & mask;
            share[i] = (0 - share[i]) & mask;
        }
    });
}

void product_receive(HashKey key, std::uint64_t first_group, std::size_t groups, unsigned bits, const Block* t,
                     const std::uint8_t* choices, const std::uint64_t* message, std::uint64_t* share, unsigned threads) {
    const std::uint64_t mask = ring_mask(bits);
    parallel_for(groups, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, to = last * group_size;
        DEEPREDUCE_PICK(ot).hash(key.value, first_group + first, last - first, t + from, nullptr, share + from, nullptr);
        for (std::size_t i = from; i < to; ++i) {
            const std::uint64_t chosen = -static_cast<std::uint64_t>((choices[i / 8] >> (i % 8)) & 1);
            share[i] = (share[i] + (message[i] & chosen)) & mask;
        }
    });
}

}  // namespace deepreduce::ot
