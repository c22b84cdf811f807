#include "base/aes.hpp"
#include "base/lanes_avx2.hpp"

namespace deepreduce::avx2 {
#include "base/aes_kernels.ipp"
}  // namespace deepreduce::avx2

namespace deepreduce::aes {
const Kernels avx2_kernels{avx2::ctr, avx2::chains};
}  // namespace deepreduce::aes
