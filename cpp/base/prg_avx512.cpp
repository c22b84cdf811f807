// AES-128 with VAES: four blocks per register, sixteen in flight.
#include <immintrin.h>

#include "base/prg.hpp"

namespace deepreduce::aes::avx512 {
namespace {

void counter_blocks(std::uint8_t* out, const std::uint8_t* round_keys, std::uint64_t counter, std::size_t blocks) {
    __m512i keys[11];
    for (int r = 0; r < 11; ++r) {
        keys[r] = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(round_keys) + r));
    }
    const __m512i four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    __m512i next = _mm512_add_epi64(_mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0),
                                    _mm512_maskz_set1_epi64(0x55, static_cast<long long>(counter)));
    while (blocks) {
        __m512i s[4];
        for (int k = 0; k < 4; ++k) {
            s[k] = _mm512_xor_si512(next, keys[0]);
            next = _mm512_add_epi64(next, four);
        }
        for (int r = 1; r < 10; ++r) {
            for (int k = 0; k < 4; ++k) s[k] = _mm512_aesenc_epi128(s[k], keys[r]);
        }
        for (int k = 0; k < 4; ++k) s[k] = _mm512_aesenclast_epi128(s[k], keys[10]);
        const std::size_t now = blocks < 16 ? blocks : 16;
        for (std::size_t k = 0; 4 * k < now; ++k, out += 64) {
            const std::size_t left = now - 4 * k;
            const __mmask8 lanes = left >= 4 ? 0xff : static_cast<__mmask8>((1u << (2 * left)) - 1);
            _mm512_mask_storeu_epi64(out, lanes, s[k]);
        }
        blocks -= now;
    }
}

}  // namespace
}  // namespace deepreduce::aes::avx512

namespace deepreduce::aes {

const Kernels& avx512_kernels() {
    // A key schedule is too short to gain from wide registers.
    static const Kernels kernels = {avx2_kernels().expand_key, avx512::counter_blocks};
    return kernels;
}

}  // namespace deepreduce::aes
