// AES-128 in counter mode: the pseudo-random generator of every protocol here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block.hpp"

namespace deepreduce {

// out[i] = AES_seed(first + i, high) for i in [0, count): low word the counter, high word a domain. Constant time.
void aes_ctr(Seed seed, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count);

namespace aes {

struct Kernels {
    void (*ctr)(Block key, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace aes
}  // namespace deepreduce
