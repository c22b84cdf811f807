// Garbling and evaluation of vectors, once per CPU path. A vector is `groups` groups of 16 instances.
//
// Layouts: labels [group][bit][16] blocks; tables [group][gate][2][16] blocks; bits, colors [group][bit] 16-bit words, bit i
// of which is instance i's; ring elements [group][16] words.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block.hpp"

namespace deepreduce::gc {

// What the circuit computes after the addition of the shares.
enum class Circuit { relu, rescale };

struct Kernels {
    // Bits 0..width - 1 of ring elements into words, and back.
    void (*slice)(std::size_t groups, unsigned width, const std::uint64_t* values, std::uint16_t* bits);
    void (*unslice)(std::size_t groups, unsigned width, const std::uint16_t* bits, std::uint64_t* values);

    // Active labels of the garbler's own inputs: AES_seed(counter, nonce) xor bit * delta; block first_group * width * 16 + i of the
    // stream is the label of 0 of input i.
    void (*encode)(Block delta, const Seed& seed, std::uint64_t first_group, std::size_t groups, unsigned width,
                   const std::uint16_t* bits, Block* labels);

    // The whole circuit (gc/garbled.hpp). client labels: bits of the share, then bits of the next mask.
    void (*garble)(Circuit circuit, unsigned shift, Block delta, Block key, const Seed& seed, std::uint64_t first_group,
                   std::size_t groups, unsigned bits, const Block* client_zero, Block* tables, std::uint16_t* colors);
    void (*evaluate)(Circuit circuit, unsigned shift, Block key, std::uint64_t first_group, std::size_t groups, unsigned bits,
                     const Block* client_labels, const Block* server_labels, const Block* tables, std::uint16_t* colors);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;

}  // namespace deepreduce::gc
