#include "base/aes.hpp"
#include "base/lanes_scalar.hpp"

namespace deepreduce::scalar {
#include "base/aes_kernels.ipp"
}  // namespace deepreduce::scalar

namespace deepreduce::aes {
const Kernels scalar_kernels{scalar::ctr, scalar::chains};
}  // namespace deepreduce::aes
