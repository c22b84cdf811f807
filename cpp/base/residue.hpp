// What kernels leave in a thread after they have returned: vector registers (which the dynamic linker may save on the
// stack at the next call that it resolves), and in their frames what they spilled: Delta in every lane, seeds, labels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block.hpp"

namespace deepreduce {

static inline void wipe_vector_registers() {
#if defined(DEEPREDUCE_X86)
    if (__builtin_cpu_supports("avx")) {
        __asm__ __volatile__("vzeroall" : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                             "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
    if (__builtin_cpu_supports("avx512f")) {  // this file is compiled without it: nothing lives in these
        __asm__ __volatile__(
            ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n\t"
            "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t"
            ".endr"
            : :);
    }
#endif
}

// Their frames are tens of KiB deep.
[[gnu::noinline]] static inline void wipe_residue() {
    wipe_vector_registers();
    std::uint8_t below[std::size_t{1} << 17];
    wipe(below, sizeof below);
}

}  // namespace deepreduce
