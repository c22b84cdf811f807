#include "ring/convolution.hpp"

#include <algorithm>

#include "base/parallel.hpp"
#include "ring/element.hpp"
#include "ring/windows.hpp"

namespace deepreduce::ring {
namespace {

constexpr std::size_t task_blocks = 2;   // of outputs, as many as a kernel takes at once
constexpr std::size_t task_pixels = 48;  // few enough that a task's sums stay in the first-level cache

std::size_t ceil_div(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

// The window of each pixel of a task, and its place in the channel-first result, output channel 0.
struct Pixels {
    std::size_t window[task_pixels];
    std::size_t target[task_pixels];

    Pixels(const Windows& windows, std::size_t group, std::size_t first, std::size_t count) {
        const std::size_t area = windows.output().height * windows.output().width;
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t pixel = first + i;
            window[i] = windows.offset(group, pixel);
            target[i] = pixel / area * windows.output().channels * area + pixel % area;
        }
    }
};

// Transposes the sums [pixels][width] of outputs [first, first + count) into the result.
template <class Sum>
void store(const Sum* sums, std::size_t width, const Pixels& at, std::size_t pixels, std::size_t first,
           std::size_t count, std::size_t area, const std::uint64_t* bias, std::uint64_t mask, std::uint64_t* y) {
    for (std::size_t o = 0; o < count; ++o) {
        const std::uint64_t add = bias ? bias[first + o] : 0;
        std::uint64_t* channel = y + (first + o) * area;
        for (std::size_t i = 0; i < pixels; ++i) channel[at.target[i]] = (sums[i * width + o] + add) & mask;
    }
}

}  // namespace

LinearWeights::LinearWeights(const std::int16_t* weights, std::size_t outputs_, std::size_t group_channels_,
                             std::size_t kernel_height_, std::size_t kernel_width_, std::size_t groups_, unsigned bits_)
    : outputs(outputs_),
      group_channels(group_channels_),
      kernel_height(kernel_height_),
      kernel_width(kernel_width_),
      groups(groups_),
      bits(bits_) {
    const auto at = [&](std::size_t o, std::size_t c, std::size_t row, std::size_t column) {
        return weights[((o * group_channels + c) * kernel_height + row) * kernel_width + column];
    };
    if (depthwise()) {
        packed_.assign(weights, weights + outputs * kernel_height * kernel_width);
        return;
    }
    const std::size_t run = kernel_width * group_channels, group_outputs = outputs / groups;
    const std::size_t padded_run = ceil_div(run, step()) * step();
    block_stride_ = kernel_height * padded_run * block_outputs;
    group_blocks_ = ceil_div(group_outputs, block_outputs);
    // Zero beyond the last output and in an odd run's last pair.
    packed_.resize(groups * group_blocks_ * block_stride_);
    for (std::size_t o = 0; o < outputs; ++o) {
        const std::size_t in_group = o % group_outputs;
        const std::size_t block = o / group_outputs * group_blocks_ + in_group / block_outputs;
        for (std::size_t row = 0; row < kernel_height; ++row) {
            std::int16_t* target = packed_.data() + block * block_stride_ + row * padded_run * block_outputs +
                                   in_group % block_outputs * step();
            for (std::size_t k = 0; k < run; ++k) {
                target[k / step() * step() * block_outputs + k % step()] =
                    at(o, k % group_channels, row, k / group_channels);
            }
        }
    }
}

Map LinearWeights::output(const Map& input, const Geometry& geometry) const {
    return {input.batch, outputs,
            (input.height + geometry.top + geometry.bottom - kernel_height) / geometry.stride_height + 1,
            (input.width + geometry.left + geometry.right - kernel_width) / geometry.stride_width + 1};
}

void LinearWeights::convolve(const std::uint64_t* x, const Map& input, const std::uint64_t* bias,
                             const Geometry& geometry, unsigned threads, std::uint64_t* y) const {
    const MatmulKernels& path = matmul_kernels(cpu::current());
    const Map map = output(input, geometry);
    if (depthwise()) {
        parallel_for(map.batch * outputs, threads, [&](std::size_t begin, std::size_t end) {
            convolve_depthwise(path, x, input, map, bias, geometry, begin, end, y);
        });
        return;
    }
    const Layout layout = bits <= 32 ? Layout::limbs16 : path.wide_layout;
    const Windows windows(x, input, map, geometry, groups, layout, threads);
    const std::size_t chunks = ceil_div(windows.pixels(), task_pixels), columns = ceil_div(group_blocks_, task_blocks);
    // Pixels vary fastest: a thread keeps one block's weights in its cache and walks over the map.
    parallel_for(groups * columns * chunks, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t task = begin; task < end; ++task) {
            const std::size_t first = windows.pixels() * (task % chunks) / chunks;
            const std::size_t last = windows.pixels() * (task % chunks + 1) / chunks;
            blocks_task(path, windows, task / chunks / columns, task / chunks % columns * task_blocks, first,
                        last - first, bias, y);
        }
    });
}

void LinearWeights::blocks_task(const MatmulKernels& path, const Windows& windows, std::size_t group,
                                std::size_t first_block, std::size_t first_pixel, std::size_t pixels,
                                const std::uint64_t* bias, std::uint64_t* y) const {
    const Pixels at(windows, group, first_pixel, pixels);
    Product product{};
    product.weights = packed_.data() + (group * group_blocks_ + first_block) * block_stride_;
    product.block_stride = block_stride_;
    product.blocks = std::min(task_blocks, group_blocks_ - first_block);
    product.low = windows.low();
    product.high = windows.high();
    product.words = windows.words();
    product.offsets = at.window;
    product.pixels = pixels;
    product.runs = kernel_height;
    product.run_length = kernel_width * group_channels;
    product.run_stride = windows.row_stride();
    product.bits = bits;
    const std::size_t group_outputs = outputs / groups, in_group = first_block * block_outputs;
    const std::size_t first = group * group_outputs + in_group, width = product.blocks * block_outputs;
    const std::size_t count = std::min(width, group_outputs - in_group);
    const std::size_t area = windows.output().height * windows.output().width;
    if (bits <= 32) {
        alignas(64) std::uint32_t sums[task_pixels * task_blocks * block_outputs];
        path.narrow(product, sums);
        store(sums, width, at, pixels, first, count, area, bias, mask(bits), y);
    } else {
        alignas(64) std::uint64_t sums[task_pixels * task_blocks * block_outputs];
        path.wide(product, sums);
        store(sums, width, at, pixels, first, count, area, bias, mask(bits), y);
    }
}

void LinearWeights::convolve_depthwise(const MatmulKernels& path, const std::uint64_t* x, const Map& input,
                                       const Map& map, const std::uint64_t* bias, const Geometry& geometry,
                                       std::size_t first, std::size_t last, std::uint64_t* y) const {
    const std::size_t width = input.width + geometry.left + geometry.right;
    AlignedVector<std::uint64_t> padded((input.height + geometry.top + geometry.bottom) * width);
    for (std::size_t plane = first; plane < last; ++plane) {
        const std::uint64_t* source = x + plane * input.height * input.width;
        for (std::size_t row = 0; row < input.height; ++row, source += input.width) {
            std::copy_n(source, input.width, padded.data() + (geometry.top + row) * width + geometry.left);
        }
        const std::size_t channel = plane % outputs, area = map.height * map.width;
        const Depthwise product{packed_.data() + channel * kernel_height * kernel_width,
                                padded.data(),
                                width,
                                kernel_height,
                                kernel_width,
                                geometry.stride_height,
                                geometry.stride_width,
                                map.height,
                                map.width};
        std::uint64_t* target = y + plane * area;
        path.depthwise(product, target);
        const std::uint64_t add = bias ? bias[channel] : 0;
        for (std::size_t i = 0; i < area; ++i) target[i] = (target[i] + add) & mask(bits);
    }
}

}  // namespace deepreduce::ring
