// The garbler's own inputs: shares to bits to active labels, in batches that stay in the nearest cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/block.hpp"
#include "base/dispatch.hpp"
#include "gc/kernels.hpp"

namespace deepreduce::gc {

// Labels [group][bit][16] of bits 0..width - 1 of the shares of `groups` groups from number first_group on. Constant time.
inline void encode_shares(const Delta& delta, Seed seed, std::uint64_t first_group, std::size_t groups, unsigned width,
                          const std::uint64_t* shares, Block* labels) {
    constexpr std::size_t batch = 16;
    std::uint16_t bits[batch * 64];
    for (std::size_t g = 0; g < groups; g += batch) {
        const std::size_t count = std::min(batch, groups - g);
        DEEPREDUCE_PICK(gc).slice(count, width, shares + g * group_size, bits);
        DEEPREDUCE_PICK(gc).encode(delta.value, seed, first_group + g, count, width, bits,
                                   labels + g * group_size * width);
    }
    wipe(bits, sizeof bits);
}

}  // namespace deepreduce::gc
