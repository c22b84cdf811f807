// AES-128 with AES-NI: eight blocks in flight cover the latency of a round.
#include <immintrin.h>

#include "base/prg.hpp"

namespace deepreduce::aes::avx2 {
namespace {

template <int constant>
__m128i next_key(__m128i key) {
    const __m128i word = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, constant), 0xff);
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, word);
}

void expand_key(std::uint8_t* round_keys, const std::uint8_t* key) {
    __m128i* out = reinterpret_cast<__m128i*>(round_keys);
    __m128i k = _mm_loadu_si128(reinterpret_cast<const __m128i*>(key));
    _mm_storeu_si128(out, k);
    _mm_storeu_si128(out + 1, k = next_key<0x01>(k));
    _mm_storeu_si128(out + 2, k = next_key<0x02>(k));
    _mm_storeu_si128(out + 3, k = next_key<0x04>(k));
    _mm_storeu_si128(out + 4, k = next_key<0x08>(k));
    _mm_storeu_si128(out + 5, k = next_key<0x10>(k));
    _mm_storeu_si128(out + 6, k = next_key<0x20>(k));
    _mm_storeu_si128(out + 7, k = next_key<0x40>(k));
    _mm_storeu_si128(out + 8, k = next_key<0x80>(k));
    _mm_storeu_si128(out + 9, k = next_key<0x1b>(k));
    _mm_storeu_si128(out + 10, k = next_key<0x36>(k));
}

void counter_blocks(std::uint8_t* out, const std::uint8_t* round_keys, std::uint64_t counter, std::size_t blocks) {
    __m128i keys[11];
    for (int r = 0; r < 11; ++r) keys[r] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(round_keys) + r);
    while (blocks) {
        __m128i s[8];
        for (int k = 0; k < 8; ++k) s[k] = _mm_xor_si128(_mm_set_epi64x(0, static_cast<long long>(counter++)), keys[0]);
        for (int r = 1; r < 10; ++r) {
            for (int k = 0; k < 8; ++k) s[k] = _mm_aesenc_si128(s[k], keys[r]);
        }
        const std::size_t now = blocks < 8 ? blocks : 8;
        for (int k = 0; k < 8; ++k) s[k] = _mm_aesenclast_si128(s[k], keys[10]);
        for (std::size_t k = 0; k < now; ++k, out += 16) _mm_storeu_si128(reinterpret_cast<__m128i*>(out), s[k]);
        blocks -= now;
    }
}

}  // namespace
}  // namespace deepreduce::aes::avx2

namespace deepreduce::aes {

const Kernels& avx2_kernels() {
    static constexpr Kernels kernels = {avx2::expand_key, avx2::counter_blocks};
    return kernels;
}

}  // namespace deepreduce::aes
