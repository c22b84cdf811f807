#include "base/lanes_avx2.hpp"
#include "ot/kernels.hpp"

namespace deepreduce::avx2 {
namespace {
#include "gc/hash.ipp"
#include "ot/kernels.ipp"
}  // namespace
}  // namespace deepreduce::avx2

namespace deepreduce::ot {
const Kernels avx2_kernels{avx2::receive, avx2::send, avx2::hash};
}  // namespace deepreduce::ot
