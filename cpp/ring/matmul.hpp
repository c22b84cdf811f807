// The inner product of the server's online phase: a few outputs times a few pixels, exactly, on every CPU path.
//
// Lanes are outputs: a vector register holds the weights of 16 outputs, and one input value is broadcast against it.
// The inputs lie channel-last, so a kernel row's values at one pixel are contiguous ("a run") at any stride, and
// nothing is copied per kernel position (no im2col). A map of a single pixel fills the lanes as well as a large one.
//
// Constant time: only shapes, all public, decide about branches and addresses. Zero weights are not skipped: the
// weights are the server's secret.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.hpp"

namespace deepreduce::ring {

constexpr std::size_t block_outputs = 16;

// How the inputs of a product are stored. All are exact; which one is fastest depends on the ring and the path.
enum class Layout {
    limbs16,   // two int16 planes, x = low + 2^16 high mod 2^32, low signed: rings up to 32 bits
    words64,   // one uint64 plane
    halves32,  // one uint64 plane of (high << 32 | low), x = low + 2^32 high mod 2^64, low signed
};

// `blocks` (1 or 2) blocks of 16 outputs times `pixels` windows. A window is `runs` runs of `run_length` elements, run
// i starting `run_stride` * i elements after the window's own offset.
struct Product {
    const std::int16_t* weights;  // [blocks][runs][ceil(run_length / step)][16][step]; step 2 for limbs16, else 1
    std::size_t block_stride;     // int16 values from one block to the next
    std::size_t blocks;
    const std::int16_t* low;  // limbs16; one element past the last window's end is read, and meets a zero weight
    const std::int16_t* high;
    const std::uint64_t* words;  // words64, halves32
    const std::size_t* offsets;  // [pixels]
    std::size_t pixels;
    std::size_t runs;
    std::size_t run_length;
    std::size_t run_stride;
    unsigned bits;  // sums are exact mod 2^bits; the bits above are arbitrary
};

// One output channel of a depthwise layer, which sees one input channel only.
struct Depthwise {
    const std::int16_t* weights;   // [kernel_height][kernel_width]
    const std::uint64_t* channel;  // the padded map, row_stride elements from row to row
    std::size_t row_stride;
    std::size_t kernel_height, kernel_width;
    std::size_t stride_height, stride_width;
    std::size_t height, width;  // of the result
};

struct MatmulKernels {
    Layout wide_layout;                                        // for rings above 32 bits
    void (*narrow)(const Product&, std::uint32_t* sums);       // sums [pixels][16 blocks], bits <= 32, limbs16
    void (*wide)(const Product&, std::uint64_t* sums);         // sums [pixels][16 blocks], any bits, wide_layout
    void (*depthwise)(const Depthwise&, std::uint64_t* sums);  // sums [height][width], any bits
    // Ring multiply-adds done by a register-only loop of `rounds` rounds: no product can be
    // faster. In the arithmetic of `narrow`, or of `wide` for bits > 32.
    std::uint64_t (*multiply_adds)(std::uint64_t rounds, unsigned bits);
};

namespace scalar {
extern const MatmulKernels matmul;
}
#ifdef DEEPREDUCE_X86
namespace avx2 {
extern const MatmulKernels matmul;
}
namespace avx512 {
extern const MatmulKernels matmul;
}
#endif

const MatmulKernels& matmul_kernels(cpu::Path path);

// Ring multiply-adds per second of this thread on the path in use, in registers alone (about 20 ms of work).
double multiply_add_peak(unsigned bits);

}  // namespace deepreduce::ring
