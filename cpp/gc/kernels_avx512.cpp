#include "base/lanes_avx512.hpp"
#include "gc/kernels.hpp"

namespace deepreduce::avx512 {
namespace {
#include "gc/hash.ipp"
#include "gc/circuits.ipp"
#include "gc/kernels.ipp"
}  // namespace
}  // namespace deepreduce::avx512

namespace deepreduce::gc {
const Kernels avx512_kernels{avx512::slice, avx512::unslice, avx512::encode, avx512::garble, avx512::evaluate};
}  // namespace deepreduce::gc
