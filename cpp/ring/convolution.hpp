// A linear layer of the online phase: packed weights times a batch of maps, exactly mod 2^l.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"
#include "ring/matmul.hpp"

namespace deepreduce::ring {

class Windows;

struct Map {
    std::size_t batch, channels, height, width;
};

struct Geometry {
    std::size_t stride_height, stride_width;
    std::size_t top, bottom, left, right;  // zeros around the map
};

// Convolution weights in the order in which the kernels read them. A fully connected layer is a 1x1 kernel on a 1x1
// map. Not changed after construction: several threads may convolve at once.
class LinearWeights {
public:
    // `weights` [outputs][group_channels][kernel_height][kernel_width], each above -2^15. The group count divides
    // `outputs`.
    LinearWeights(const std::int16_t* weights, std::size_t outputs, std::size_t group_channels,
                  std::size_t kernel_height, std::size_t kernel_width, std::size_t groups, unsigned bits);

    // Height and width of the result are floor((side + padding - kernel) / stride) + 1; the kernel fits the padded map.
    Map output(const Map& input, const Geometry& geometry) const;

    // y[b][o] = bias[o] + the cross-correlation of x[b] (of o's group of channels) with weights[o], mod 2^bits,
    // channel-first. x and bias (which may be null) count mod 2^bits whatever their upper bits hold. Constant time in
    // x, weights, bias.
    void convolve(const std::uint64_t* x, const Map& input, const std::uint64_t* bias, const Geometry& geometry,
                  unsigned threads, std::uint64_t* y) const;

    std::size_t outputs, group_channels, kernel_height, kernel_width, groups;
    unsigned bits;

private:
    bool depthwise() const { return group_channels == 1 && outputs == groups; }
    std::size_t step() const { return bits <= 32 && !depthwise() ? 2 : 1; }
    void blocks_task(const MatmulKernels& path, const Windows& windows, std::size_t group, std::size_t first_block,
                     std::size_t first_pixel, std::size_t pixels, const std::uint64_t* bias, std::uint64_t* y) const;
    // Planes [first, last) of the batch's [batch][outputs].
    void convolve_depthwise(const MatmulKernels& path, const std::uint64_t* x, const Map& input, const Map& map,
                            const std::uint64_t* bias, const Geometry& geometry, std::size_t first, std::size_t last,
                            std::uint64_t* y) const;

    std::size_t block_stride_ = 0;  // int16 values
    std::size_t group_blocks_ = 0;
    AlignedVector<std::int16_t> packed_;
};

}  // namespace deepreduce::ring
