#include "ring/windows.hpp"

#include <cstring>

#include "base/parallel.hpp"

namespace deepreduce::ring {
namespace {

// The limb above the signed low limb, from which it carries what a negative low limb takes.
std::uint64_t high_limb(std::uint64_t value) { return (value + 0x8000) >> 16; }

std::uint64_t join(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) {
    return (a & 0xffff) | (b & 0xffff) << 16 | (c & 0xffff) << 32 | d << 48;
}

// Limbs of one pixel in four channels, written as one word per plane.
void split4(const std::uint64_t* x, std::size_t stride, std::int16_t* low, std::size_t to_high) {
    const std::uint64_t a = x[0], b = x[stride], c = x[2 * stride], d = x[3 * stride];
    const std::uint64_t lows = join(a, b, c, d);
    const std::uint64_t highs = join(high_limb(a), high_limb(b), high_limb(c), high_limb(d));
    std::memcpy(low, &lows, sizeof lows);
    std::memcpy(low + to_high, &highs, sizeof highs);
}

}  // namespace

Windows::Windows(const std::uint64_t* x, const Map& input, const Map& output, const Geometry& geometry,
                 std::size_t groups, Layout layout, unsigned threads)
    : output_(output),
      geometry_(geometry),
      channels_(input.channels / groups),
      padded_height_(input.height + geometry.top + geometry.bottom),
      padded_width_(input.width + geometry.left + geometry.right) {
    // One more element, since pairs of an odd run end behind it; then up to whole cache lines.
    plane_ = (groups * input.batch * padded_height_ * row_stride() + 1 + 31) / 32 * 32;
    if (layout == Layout::limbs16) {
        limbs_.resize(2 * plane_);
    } else {
        words_.resize(plane_);
    }
    const std::size_t rows = groups * input.batch * input.height;
    parallel_for(rows, rows * input.width * channels_ < 20'000 ? 1 : threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t row = begin; row < end; ++row) {
            const std::size_t y = row % input.height, image = row / input.height % input.batch;
            const std::size_t group = row / input.height / input.batch;
            const std::size_t target =
                (((group * input.batch + image) * padded_height_ + geometry.top + y) * padded_width_ + geometry.left) *
                channels_;
            const std::uint64_t* source =
                x + ((image * input.channels + group * channels_) * input.height + y) * input.width;
            const std::size_t area = input.height * input.width;
            // Channels outside: rows of the source are read in turn, and the target's row stays in cache.
            std::size_t c = 0;
            if (layout == Layout::limbs16) {
                for (; c + 4 <= channels_; c += 4) {
                    for (std::size_t column = 0; column < input.width; ++column) {
                        split4(source + c * area + column, area, limbs_.data() + target + column * channels_ + c,
                               plane_);
                    }
                }
            }
            for (; c < channels_; ++c) {
                for (std::size_t column = 0; column < input.width; ++column) {
                    const std::size_t at = target + column * channels_ + c;
                    const std::uint64_t value = source[c * area + column];
                    switch (layout) {
                        case Layout::limbs16:
                            limbs_[at] = static_cast<std::int16_t>(value);
                            limbs_[plane_ + at] = static_cast<std::int16_t>(high_limb(value));
                            break;
                        case Layout::words64: words_[at] = value; break;
                        case Layout::halves32: words_[at] = value + ((value & 0x8000'0000) << 1); break;
                    }
                }
            }
        }
    });
}

std::size_t Windows::offset(std::size_t group, std::size_t pixel) const {
    const std::size_t column = pixel % output_.width, row = pixel / output_.width % output_.height;
    const std::size_t image = pixel / output_.width / output_.height;
    return (((group * output_.batch + image) * padded_height_ + row * geometry_.stride_height) * padded_width_ +
            column * geometry_.stride_width) *
           channels_;
}

}  // namespace deepreduce::ring
