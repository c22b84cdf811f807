// Sixteen blocks at once with AES-NI, two by two in AVX2 registers where the operation allows. See lanes_scalar.hpp.
#pragma once

#include <immintrin.h>

#include "base/block.hpp"

namespace deepreduce::avx2 {

using u64 = std::uint64_t;

struct RoundKeys {
    __m128i round[11];
};

struct Lanes {
    __m128i lane[group_size];

    static Lanes load(const Block* from) {
        Lanes out;
        for (std::size_t i = 0; i < group_size; ++i) out.lane[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
        return out;
    }
    void store(Block* to) const {
        for (std::size_t i = 0; i < group_size; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), lane[i]);
    }
    static Lanes broadcast(Block value) {
        Lanes out;
        const __m128i v = _mm_set_epi64x(static_cast<long long>(value.hi), static_cast<long long>(value.lo));
        for (auto& x : out.lane) x = v;
        return out;
    }
    static Lanes count(u64 first, u64 high) {
        Lanes out;
        for (u64 i = 0; i < group_size; ++i) {
            out.lane[i] = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(first + i));
        }
        return out;
    }
    friend Lanes operator^(Lanes a, const Lanes& b) {
        for (std::size_t i = 0; i < group_size; ++i) a.lane[i] = _mm_xor_si128(a.lane[i], b.lane[i]);
        return a;
    }
    Lanes where(std::uint16_t bits) const {
        Lanes out;
        for (std::size_t i = 0; i < group_size; ++i) {
            out.lane[i] = _mm_and_si128(lane[i], _mm_set1_epi64x(-static_cast<long long>((bits >> i) & 1)));
        }
        return out;
    }
    Lanes where_color(const Lanes& other) const {
        Lanes out;
        const __m128i zero = _mm_setzero_si128();
        const __m128i one = _mm_set1_epi64x(1);
        for (std::size_t i = 0; i < group_size; ++i) {
            const __m128i low = _mm_shuffle_epi32(_mm_and_si128(other.lane[i], one), 0x44);
            out.lane[i] = _mm_and_si128(lane[i], _mm_sub_epi64(zero, low));
        }
        return out;
    }
    std::uint16_t colors() const {
        unsigned out = 0;
        for (std::size_t i = 0; i < group_size; ++i) {
            out |= static_cast<unsigned>(_mm_cvtsi128_si64(lane[i]) & 1) << i;
        }
        return static_cast<std::uint16_t>(out);
    }
    Lanes sigma() const {
        Lanes out;
        const __m128i high = _mm_set_epi64x(-1, 0);
        for (std::size_t i = 0; i < group_size; ++i) {
            out.lane[i] = _mm_xor_si128(_mm_shuffle_epi32(lane[i], 0xEE), _mm_and_si128(_mm_shuffle_epi32(lane[i], 0x44), high));
        }
        return out;
    }
    void low_words(u64* to) const {
        for (std::size_t i = 0; i < group_size; ++i) to[i] = static_cast<u64>(_mm_cvtsi128_si64(lane[i]));
    }
};

namespace detail {

// Eight blocks in flight hide the latency of AESENC.
inline void aes8(__m128i* x, const RoundKeys& keys) {
    __m128i v[8];
    for (int i = 0; i < 8; ++i) v[i] = _mm_xor_si128(x[i], keys.round[0]);
    for (int round = 1; round < 10; ++round) {
        const __m128i key = keys.round[round];
        for (auto& block : v) block = _mm_aesenc_si128(block, key);
    }
    for (int i = 0; i < 8; ++i) x[i] = _mm_aesenclast_si128(v[i], keys.round[10]);
}

}  // namespace detail

inline void aes(Lanes& x, const RoundKeys& keys) {
    detail::aes8(x.lane, keys);
    detail::aes8(x.lane + 8, keys);
}

inline void aes_pair(Lanes& x, const RoundKeys& x_keys, Lanes& y, const RoundKeys& y_keys) {
    aes(x, x_keys);
    aes(y, y_keys);
}

// The key schedules of 8 keys, interleaved: AESENCLAST on a broadcast word is SubWord, without AESKEYGENASSIST's latency.
inline void expand_keys(const Block keys[8], RoundKeys out[8]) {
    const __m128i rotate = _mm_set1_epi32(0x0C0F0E0D);
    __m128i k[8];
    for (int i = 0; i < 8; ++i) out[i].round[0] = k[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys + i));
    int constant = 1;
    for (int round = 1; round <= 10; ++round) {
        const __m128i rcon = _mm_set1_epi32(constant);
        for (int i = 0; i < 8; ++i) {
            const __m128i word = _mm_aesenclast_si128(_mm_shuffle_epi8(k[i], rotate), rcon);
            k[i] = _mm_xor_si128(k[i], _mm_slli_si128(k[i], 4));
            k[i] = _mm_xor_si128(k[i], _mm_slli_si128(k[i], 8));
            out[i].round[round] = k[i] = _mm_xor_si128(k[i], word);
        }
        constant = (constant << 1) ^ ((constant >> 7) * 0x11B);
    }
}

// Bit j of sixteen words, word i's in bit i.
inline std::uint16_t bit_slice(const u64* values, unsigned j) {
    const __m128i up = _mm_cvtsi32_si128(static_cast<int>(63 - j));
    unsigned out = 0;
    for (int i = 0; i < 4; ++i) {
        const __m256i four = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + 4 * i));
        out |= static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_sll_epi64(four, up)))) << (4 * i);
    }
    return static_cast<std::uint16_t>(out);
}

}  // namespace deepreduce::avx2
