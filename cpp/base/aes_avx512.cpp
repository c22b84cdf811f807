#include "base/aes.hpp"
#include "base/lanes_avx512.hpp"

namespace deepreduce::avx512 {
#include "base/aes_kernels.ipp"
}  // namespace deepreduce::avx512

namespace deepreduce::aes {
const Kernels avx512_kernels{avx512::ctr, avx512::chains};
}  // namespace deepreduce::aes
