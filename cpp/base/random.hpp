// Fresh randomness: always the operating system's.
#pragma once

#include <cstddef>

#include "base/block.hpp"

namespace deepreduce {

// Fills `out` from getrandom(2); throws std::runtime_error if the system has none to give.
void os_random(void* out, std::size_t bytes);

inline Block random_block() {
    Block block;
    os_random(&block, sizeof block);
    return block;
}

inline Seed random_seed() {
    Seed seed;
    os_random(&seed.value, sizeof seed.value);
    os_random(&seed.nonce, sizeof seed.nonce);
    return seed;
}

}  // namespace deepreduce
