// Plain C++: one 64-bit word at a time.
#include "ring/elementwise.hpp"
#include "ring/lane_word.hpp"
#include "ring/transform.hpp"

namespace deepreduce::ring {

const polynomials::Kernels polynomials::scalar_kernels = kernels_of<WordLane>();

}  // namespace deepreduce::ring
