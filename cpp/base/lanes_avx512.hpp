// Sixteen blocks at once in four 512-bit registers, with VAES. See lanes_scalar.hpp.
#pragma once

#include <immintrin.h>

#include "base/block.hpp"

namespace deepreduce::avx512 {

using u64 = std::uint64_t;

struct RoundKeys {
    Block round[11];
};

struct Lanes {
    __m512i quad[4];

    static Lanes load(const Block* from) {
        Lanes out;
        for (int i = 0; i < 4; ++i) out.quad[i] = _mm512_loadu_si512(from + 4 * i);
        return out;
    }
    void store(Block* to) const {
        for (int i = 0; i < 4; ++i) _mm512_storeu_si512(to + 4 * i, quad[i]);
    }
    static Lanes broadcast(Block value) {
        Lanes out;
        const __m512i v = _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(value.hi), static_cast<long long>(value.lo)));
        for (auto& x : out.quad) x = v;
        return out;
    }
    static Lanes count(u64 first, u64 high) {
        Lanes out;
        const auto h = static_cast<long long>(high);
        const __m512i base = _mm512_set_epi64(h, 3, h, 2, h, 1, h, 0);
        for (u64 i = 0; i < 4; ++i) {
            out.quad[i] = _mm512_add_epi64(base, _mm512_maskz_set1_epi64(0x55, static_cast<long long>(first + 4 * i)));
        }
        return out;
    }
    friend Lanes operator^(Lanes a, const Lanes& b) {
        for (int i = 0; i < 4; ++i) a.quad[i] = _mm512_xor_si512(a.quad[i], b.quad[i]);
        return a;
    }
    Lanes where(std::uint16_t bits) const {
        Lanes out;
        // Both words of a lane take the lane's bit: 0bDCBA -> 0bDDCCBBAA.
        const __m512i word_bit = _mm512_set_epi64(8, 8, 4, 4, 2, 2, 1, 1);
        for (int i = 0; i < 4; ++i) {
            const __mmask8 mask = _mm512_test_epi64_mask(_mm512_set1_epi64(bits >> (4 * i)), word_bit);
            out.quad[i] = _mm512_maskz_mov_epi64(mask, quad[i]);
        }
        return out;
    }
    Lanes where_color(const Lanes& other) const {
        Lanes out;
        for (int i = 0; i < 4; ++i) {
            const __m512i low = _mm512_slli_epi32(_mm512_shuffle_epi32(other.quad[i], _MM_PERM_AAAA), 31);
            out.quad[i] = _mm512_and_si512(quad[i], _mm512_srai_epi32(low, 31));
        }
        return out;
    }
    std::uint16_t colors() const {
        alignas(64) u64 low[group_size];
        low_words(low);
        const __m512i one = _mm512_set1_epi64(1);
        const unsigned first = _mm512_test_epi64_mask(_mm512_load_si512(low), one);
        const unsigned second = _mm512_test_epi64_mask(_mm512_load_si512(low + 8), one);
        return static_cast<std::uint16_t>(first | (second << 8));
    }
    Lanes sigma() const {
        Lanes out;
        for (int i = 0; i < 4; ++i) {
            const __m512i left = _mm512_unpackhi_epi64(quad[i], quad[i]);
            out.quad[i] = _mm512_mask_xor_epi64(left, 0xAA, left, _mm512_unpacklo_epi64(quad[i], quad[i]));
        }
        return out;
    }
    void low_words(u64* to) const {
        const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
        _mm512_storeu_si512(to, _mm512_permutex2var_epi64(quad[0], even, quad[1]));
        _mm512_storeu_si512(to + 8, _mm512_permutex2var_epi64(quad[2], even, quad[3]));
    }
};

// Eight registers in flight hide the latency of VAESENC.
inline void aes_pair(Lanes& x, const RoundKeys& x_keys, Lanes& y, const RoundKeys& y_keys) {
    const auto key = [](const Block& block) {
        return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(&block)));
    };
    const __m512i x0 = key(x_keys.round[0]), y0 = key(y_keys.round[0]);
    for (int i = 0; i < 4; ++i) {
        x.quad[i] = _mm512_xor_si512(x.quad[i], x0);
        y.quad[i] = _mm512_xor_si512(y.quad[i], y0);
    }
    for (int round = 1; round < 10; ++round) {
        const __m512i xk = key(x_keys.round[round]), yk = key(y_keys.round[round]);
        for (int i = 0; i < 4; ++i) x.quad[i] = _mm512_aesenc_epi128(x.quad[i], xk);
        for (int i = 0; i < 4; ++i) y.quad[i] = _mm512_aesenc_epi128(y.quad[i], yk);
    }
    const __m512i xl = key(x_keys.round[10]), yl = key(y_keys.round[10]);
    for (int i = 0; i < 4; ++i) x.quad[i] = _mm512_aesenclast_epi128(x.quad[i], xl);
    for (int i = 0; i < 4; ++i) y.quad[i] = _mm512_aesenclast_epi128(y.quad[i], yl);
}

inline void aes(Lanes& x, const RoundKeys& keys) {
    const auto key = [&](int round) {
        return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(&keys.round[round])));
    };
    const __m512i first = key(0);
    for (auto& q : x.quad) q = _mm512_xor_si512(q, first);
    for (int round = 1; round < 10; ++round) {
        const __m512i k = key(round);
        for (auto& q : x.quad) q = _mm512_aesenc_epi128(q, k);
    }
    const __m512i last = key(10);
    for (auto& q : x.quad) q = _mm512_aesenclast_epi128(q, last);
}

// The key schedules of 8 keys, four to a register: AESENCLAST on a broadcast word is SubWord.
inline void expand_keys(const Block keys[8], RoundKeys out[8]) {
    const __m512i rotate = _mm512_set1_epi32(0x0C0F0E0D);
    __m512i k[2] = {_mm512_loadu_si512(keys), _mm512_loadu_si512(keys + 4)};
    const auto put = [&](int round) {
        for (int half = 0; half < 2; ++half) {
            auto* at = out + 4 * half;
            _mm_store_si128(reinterpret_cast<__m128i*>(&at[0].round[round]), _mm512_castsi512_si128(k[half]));
            _mm_store_si128(reinterpret_cast<__m128i*>(&at[1].round[round]), _mm512_extracti32x4_epi32(k[half], 1));
            _mm_store_si128(reinterpret_cast<__m128i*>(&at[2].round[round]), _mm512_extracti32x4_epi32(k[half], 2));
            _mm_store_si128(reinterpret_cast<__m128i*>(&at[3].round[round]), _mm512_extracti32x4_epi32(k[half], 3));
        }
    };
    put(0);
    int constant = 1;
    for (int round = 1; round <= 10; ++round) {
        const __m512i rcon = _mm512_set1_epi32(constant);
        for (auto& key : k) {
            const __m512i word = _mm512_aesenclast_epi128(_mm512_shuffle_epi8(key, rotate), rcon);
            key = _mm512_xor_si512(key, _mm512_bslli_epi128(key, 4));
            key = _mm512_xor_si512(key, _mm512_bslli_epi128(key, 8));
            key = _mm512_xor_si512(key, word);
        }
        put(round);
        constant = (constant << 1) ^ ((constant >> 7) * 0x11B);
    }
}

// Bit j of sixteen words, word i's in bit i.
inline std::uint16_t bit_slice(const u64* values, unsigned j) {
    const __m512i bit = _mm512_set1_epi64(static_cast<long long>(u64{1} << j));
    const unsigned first = _mm512_test_epi64_mask(_mm512_loadu_si512(values), bit);
    const unsigned second = _mm512_test_epi64_mask(_mm512_loadu_si512(values + 8), bit);
    return static_cast<std::uint16_t>(first | (second << 8));
}

}  // namespace deepreduce::avx512
