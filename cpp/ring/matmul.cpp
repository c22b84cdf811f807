#include "ring/matmul.hpp"

#include <algorithm>
#include <chrono>

namespace deepreduce::ring {

const MatmulKernels& matmul_kernels(cpu::Path path) {
    switch (path) {
#ifdef DEEPREDUCE_X86
        case cpu::Path::avx512: return avx512::matmul;
        case cpu::Path::avx2: return avx2::matmul;
#endif
        default: return scalar::matmul;
    }
}

double multiply_add_peak(unsigned bits) {
    using Clock = std::chrono::steady_clock;
    const MatmulKernels& path = matmul_kernels(cpu::current());
    double best = 0;
    for (int repeat = 0; repeat < 10; ++repeat) {  // the fastest of ten: a shared machine only ever takes time away
        const auto started = Clock::now();
        const auto done = static_cast<double>(path.multiply_adds(20'000, bits));
        best = std::max(best, done / std::chrono::duration<double>(Clock::now() - started).count());
    }
    return best;
}

}  // namespace deepreduce::ring
