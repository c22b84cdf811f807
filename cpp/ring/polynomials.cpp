#include "ring/polynomials.hpp"

#include "base/dispatch.hpp"

namespace deepreduce::ring {

const polynomials::Kernels& polynomial_kernels() { return DEEPREDUCE_PICK(polynomials); }

}  // namespace deepreduce::ring
