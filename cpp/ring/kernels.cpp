#include "ring/kernels.hpp"

#include "base/cpu.hpp"

namespace deepreduce::ring {

const Kernels& kernels() {
#ifdef DEEPREDUCE_X86
    switch (cpu::current()) {
        case cpu::Path::avx512: return avx512_kernels();
        case cpu::Path::avx2: return avx2_kernels();
        default: break;
    }
#endif
    return scalar_kernels();
}

}  // namespace deepreduce::ring
