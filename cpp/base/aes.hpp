// AES-128 in counter mode: the pseudo-random generator of every protocol here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block.hpp"

namespace deepreduce {

// out[i] = AES_seed(first + i, high) for i in [0, count): low word the counter, high word a domain. Constant time.
void aes_ctr(Seed seed, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count);

// The sum of 2 * group_size chains of AES, each block encrypted `calls` times over under one key without leaving the
// registers: the rate that nothing built on AES can exceed on this path. Public inputs: a measurement, not a generator.
Block aes_chains(Block key, std::size_t calls);

namespace aes {

struct Kernels {
    void (*ctr)(Block key, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count);
    Block (*chains)(Block key, std::size_t calls);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace aes
}  // namespace deepreduce
