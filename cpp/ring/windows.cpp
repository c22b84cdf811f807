#include "ring/windows.hpp"

#include "base/parallel.hpp"

namespace deepreduce::ring {

Windows::Windows(const std::uint64_t* x, const Map& input, const Map& output, const Geometry& geometry, std::size_t groups,
                 Layout layout, unsigned threads)
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
            const auto copy = [&](auto&& store) {
                for (std::size_t column = 0; column < input.width; ++column) {
                    for (std::size_t c = 0; c < channels_; ++c) {
                        store(target + column * channels_ + c, source[c * area + column]);
                    }
                }
            };
            switch (layout) {
                case Layout::limbs16:
                    copy([low = limbs_.data(), high = limbs_.data() + plane_](std::size_t i, std::uint64_t value) {
                        low[i] = static_cast<std::int16_t>(value);
                        high[i] = static_cast<std::int16_t>((value + 0x8000) >> 16);  // carries what a negative low takes
                    });
                    break;
                case Layout::words64:
                    copy([words = words_.data()](std::size_t i, std::uint64_t value) { words[i] = value; });
                    break;
                case Layout::halves32:
                    copy([words = words_.data()](std::size_t i, std::uint64_t value) {
                        words[i] = value + ((value & 0x8000'0000) << 1);
                    });
                    break;
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
