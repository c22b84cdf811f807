// The padded, channel-last copy of a batch of maps that the kernels read, and where each output pixel's window starts
// in it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned.hpp"
#include "ring/convolution.hpp"
#include "ring/matmul.hpp"

namespace deepreduce::ring {

// Planes [groups][batch][height + padding][width + padding][channels / groups], zeros where padded.
class Windows {
public:
    Windows(const std::uint64_t* x, const Map& input, const Map& output, const Geometry& geometry, std::size_t groups,
            Layout layout, unsigned threads);

    // Start of the window of output pixel `pixel` (of the whole batch) in group `group`, in elements.
    std::size_t offset(std::size_t group, std::size_t pixel) const;

    const std::int16_t* low() const { return limbs_.data(); }
    const std::int16_t* high() const { return limbs_.data() + plane_; }
    const std::uint64_t* words() const { return words_.data(); }
    std::size_t row_stride() const { return padded_width_ * channels_; }
    std::size_t pixels() const { return output_.batch * output_.height * output_.width; }
    const Map& output() const { return output_; }

private:
    Map output_;
    Geometry geometry_;
    std::size_t channels_, padded_height_, padded_width_;
    std::size_t plane_;  // elements of one plane
    AlignedVector<std::int16_t> limbs_;
    AlignedVector<std::uint64_t> words_;
};

}  // namespace deepreduce::ring
