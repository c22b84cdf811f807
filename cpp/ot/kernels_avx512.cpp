#include "base/lanes_avx512.hpp"
#include "ot/kernels.hpp"

namespace deepreduce::avx512 {
namespace {
#include "gc/hash.ipp"
#include "ot/kernels.ipp"
}  // namespace
}  // namespace deepreduce::avx512

namespace deepreduce::ot {
const Kernels avx512_kernels{avx512::receive, avx512::send, avx512::hash};
}  // namespace deepreduce::ot
