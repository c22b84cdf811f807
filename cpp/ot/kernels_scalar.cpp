#include "base/lanes_scalar.hpp"
#include "ot/kernels.hpp"

namespace deepreduce::scalar {
namespace {
#include "gc/hash.ipp"
#include "ot/kernels.ipp"
}  // namespace
}  // namespace deepreduce::scalar

namespace deepreduce::ot {
const Kernels scalar_kernels{scalar::receive, scalar::send, scalar::hash};
}  // namespace deepreduce::ot
