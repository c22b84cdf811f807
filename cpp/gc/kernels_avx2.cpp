#include "base/lanes_avx2.hpp"
#include "gc/kernels.hpp"

namespace deepreduce::avx2 {
namespace {
#include "gc/hash.ipp"
#include "gc/circuits.ipp"
#include "gc/kernels.ipp"
}  // namespace
}  // namespace deepreduce::avx2

namespace deepreduce::gc {
const Kernels avx2_kernels{avx2::slice, avx2::unslice, avx2::encode, avx2::garble, avx2::evaluate};
}  // namespace deepreduce::gc
