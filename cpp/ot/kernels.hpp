// The heavy part of OT extension, once per CPU path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "base/block.hpp"

namespace deepreduce::ot {

// OTs that one expansion of the seeds yields: 16 AES blocks per leaf (AGREEMENT: both sides advance by whole tiles).
inline constexpr std::size_t tile_ots = 2048;

struct Kernels {
    // Tiles [first, first + count) of the streams of all leaves, the nonce being the high word of their counters; leaves is
    // [128 / k][2^k]. `ots` (a multiple of 128) OTs in
    // all, the last tile may be short. Layout of choices: one bit per OT; of the correction: per tile, per tree, one bit per
    // OT; of out: one block per OT.
    void (*receive)(const Block* leaves, std::uint64_t nonce, unsigned k, std::uint64_t first, std::size_t count, std::size_t ots,
                    const std::uint8_t* choices, std::uint8_t* correction, Block* out);
    void (*send)(const Block* leaves, std::uint64_t nonce, unsigned k, Block delta, std::uint64_t first, std::size_t count, std::size_t ots,
                 const std::uint8_t* correction, Block* out);
    // Public hash of correlated OT outputs into ring elements: h0[i] = low word of H(x[i]); with a delta also h1[i] =
    // low word of H(x[i] xor delta). Key number first + g serves the 16 blocks of group g.
    void (*hash)(Block key, std::uint64_t first, std::size_t groups, const Block* x, const Block* delta, std::uint64_t* h0,
                 std::uint64_t* h1);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace deepreduce::ot
