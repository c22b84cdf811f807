// Plain C++: one 64-bit word at a time.
#include "ring/elementwise.hpp"
#include "ring/lane_word.hpp"
#include "ring/transform.hpp"

namespace deepreduce::ring {

const Kernels& scalar_kernels() {
    static constexpr Kernels kernels = kernels_of<WordLane>();
    return kernels;
}

}  // namespace deepreduce::ring
