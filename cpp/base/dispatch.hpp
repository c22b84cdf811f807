// Picks the table of kernels of the CPU path in use.
#pragma once

#include "base/cpu.hpp"

namespace deepreduce::cpu {

#ifdef DEEPREDUCE_X86
template <class Kernels>
const Kernels& pick(const Kernels& scalar, const Kernels& avx2, const Kernels& avx512) {
    switch (current()) {
        case Path::avx512: return avx512;
        case Path::avx2: return avx2;
        default: return scalar;
    }
}
// The tables have the same names in every area: area::scalar_kernels, area::avx2_kernels, area::avx512_kernels.
#define DEEPREDUCE_PICK(area) ::deepreduce::cpu::pick(area::scalar_kernels, area::avx2_kernels, area::avx512_kernels)
#else
#define DEEPREDUCE_PICK(area) area::scalar_kernels
#endif

}  // namespace deepreduce::cpu
