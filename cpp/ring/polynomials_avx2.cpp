// The word code again, for the MULX of BMI2 and 256-bit loops: AVX2 has no 64-bit products worth vectorizing.
#include "ring/elementwise.hpp"
#include "ring/lane_word.hpp"
#include "ring/transform.hpp"

namespace deepreduce::ring {

const polynomials::Kernels polynomials::avx2_kernels = kernels_of<WordLane>();

}  // namespace deepreduce::ring
