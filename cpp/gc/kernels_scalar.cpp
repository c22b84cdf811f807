#include "base/lanes_scalar.hpp"
#include "gc/kernels.hpp"

namespace deepreduce::scalar {
namespace {
#include "gc/hash.ipp"
#include "gc/circuits.ipp"
#include "gc/kernels.ipp"
}  // namespace
}  // namespace deepreduce::scalar

namespace deepreduce::gc {
const Kernels scalar_kernels{scalar::slice, scalar::unslice, scalar::encode, scalar::garble, scalar::evaluate};
}  // namespace deepreduce::gc
