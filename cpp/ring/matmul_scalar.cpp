// The plain reference: one multiplication per weight and input, in the ring's own word.
#include "ring/matmul.hpp"

namespace deepreduce::ring::scalar {
namespace {

#include "ring/depthwise.ipp"

void narrow(const Product& product, std::uint32_t* sums) {
    const std::size_t width = product.blocks * block_outputs;
    for (std::size_t pixel = 0; pixel < product.pixels; ++pixel) {
        for (std::size_t block = 0; block < product.blocks; ++block) {
            std::uint32_t sum[block_outputs] = {};
            const std::int16_t* w = product.weights + block * product.block_stride;
            for (std::size_t run = 0; run < product.runs; ++run) {
                const std::size_t start = product.offsets[pixel] + run * product.run_stride;
                for (std::size_t k = 0; k < product.run_length; k += 2, w += 2 * block_outputs) {
                    std::uint32_t x[2];
                    for (std::size_t i = 0; i < 2; ++i) {
                        x[i] = static_cast<std::uint32_t>(product.low[start + k + i]) +
                               (static_cast<std::uint32_t>(product.high[start + k + i]) << 16);
                    }
                    for (std::size_t lane = 0; lane < block_outputs; ++lane) {
                        sum[lane] += static_cast<std::uint32_t>(w[2 * lane]) * x[0];
                        sum[lane] += static_cast<std::uint32_t>(w[2 * lane + 1]) * x[1];
                    }
                }
            }
            for (std::size_t lane = 0; lane < block_outputs; ++lane) {
                sums[pixel * width + block * block_outputs + lane] = sum[lane];
            }
        }
    }
}

void wide(const Product& product, std::uint64_t* sums) {
    const std::size_t width = product.blocks * block_outputs;
    for (std::size_t pixel = 0; pixel < product.pixels; ++pixel) {
        for (std::size_t block = 0; block < product.blocks; ++block) {
            std::uint64_t sum[block_outputs] = {};
            const std::int16_t* w = product.weights + block * product.block_stride;
            for (std::size_t run = 0; run < product.runs; ++run) {
                const std::uint64_t* x = product.words + product.offsets[pixel] + run * product.run_stride;
                for (std::size_t k = 0; k < product.run_length; ++k, w += block_outputs) {
                    for (std::size_t lane = 0; lane < block_outputs; ++lane) {
                        sum[lane] += static_cast<std::uint64_t>(w[lane]) * x[k];
                    }
                }
            }
            for (std::size_t lane = 0; lane < block_outputs; ++lane) {
                sums[pixel * width + block * block_outputs + lane] = sum[lane];
            }
        }
    }
}

template <class Word>
std::uint64_t multiply_adds_of(std::uint64_t rounds) {
    Word sum[block_outputs] = {};
    Word x = 3;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        for (std::size_t lane = 0; lane < block_outputs; ++lane) {
            asm volatile("" : "+r"(x));  // else the compiler multiplies once for all rounds
            sum[lane] += static_cast<Word>(lane) * x;
        }
    }
    for (Word& lane : sum) asm volatile("" : : "r"(lane));
    return rounds * block_outputs;
}

std::uint64_t multiply_adds(std::uint64_t rounds, unsigned bits) {
    return bits <= 32 ? multiply_adds_of<std::uint32_t>(rounds) : multiply_adds_of<std::uint64_t>(rounds);
}

}  // namespace

const MatmulKernels matmul{Layout::words64, narrow, wide, depthwise, multiply_adds};

}  // namespace deepreduce::ring::scalar
