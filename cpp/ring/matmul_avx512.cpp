// AVX-512: VNNI on 16-bit limbs for rings up to 32 bits, IFMA up to 52 bits, vpmullq above.
//
// limbs16: sum(w * low) + (sum(w * high) << 16), each sum by vpdpwssd, which multiplies two int16 pairs exactly and
// adds both products to a 32-bit lane without saturating. Wrap-around of the lanes is harmless: all is mod 2^32, and a
// ring of fewer bits divides it. IFMA adds the low 52 bits of a product, which is the product mod 2^52 even of a
// negative weight in two's complement, so that one instruction serves any ring up to 52 bits.
#include <immintrin.h>

#include "ring/matmul.hpp"

namespace deepreduce::ring::avx512 {
namespace {

#include "ring/depthwise.ipp"

// Pixels x vectors of 16 outputs of one register tile. 6 x 2 x 2 limbs are 24 of the 32 registers.
constexpr std::size_t tile_pixels = 6;

inline __m512i broadcast_pair(const std::int16_t* x) {
    int pair;
    __builtin_memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
}

template <int pixels, int blocks>
void narrow_tile(const Product& product, std::size_t first, std::uint32_t* sums) {
    __m512i low[pixels][blocks], high[pixels][blocks];
    const std::int16_t* x[pixels];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; ++p) {
        x[p] = product.low + product.offsets[first + p];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; ++b) low[p][b] = high[p][b] = _mm512_setzero_si512();
    }
    const std::int16_t* w = product.weights;
    const std::ptrdiff_t to_high = product.high - product.low;
    for (std::size_t run = 0; run < product.runs; ++run) {
        const std::ptrdiff_t start = static_cast<std::ptrdiff_t>(run * product.run_stride);
        const std::ptrdiff_t end = start + static_cast<std::ptrdiff_t>(product.run_length);
        for (std::ptrdiff_t k = start; k < end; k += 2, w += 2 * block_outputs) {
            __m512i weight[blocks];
#pragma GCC unroll 2
            for (int b = 0; b < blocks; ++b) {
                weight[b] = _mm512_load_si512(w + static_cast<std::size_t>(b) * product.block_stride);
            }
#pragma GCC unroll 8
            for (int p = 0; p < pixels; ++p) {
                const __m512i x_low = broadcast_pair(x[p] + k);
                const __m512i x_high = broadcast_pair(x[p] + k + to_high);
#pragma GCC unroll 2
                for (int b = 0; b < blocks; ++b) {
                    low[p][b] = _mm512_dpwssd_epi32(low[p][b], x_low, weight[b]);
                    high[p][b] = _mm512_dpwssd_epi32(high[p][b], x_high, weight[b]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; ++b) {
            const __m512i sum = _mm512_add_epi32(low[p][b], _mm512_slli_epi32(high[p][b], 16));
            _mm512_storeu_si512(sums + (p * blocks + b) * static_cast<int>(block_outputs), sum);
        }
    }
}

struct Ifma {
    static __m512i multiply_add(__m512i sum, __m512i x, __m512i w) { return _mm512_madd52lo_epu64(sum, x, w); }
};
struct Full {
    static __m512i multiply_add(__m512i sum, __m512i x, __m512i w) {
        return _mm512_add_epi64(sum, _mm512_mullo_epi64(x, w));
    }
};

template <class Arithmetic, int pixels, int blocks>
void wide_tile(const Product& product, std::size_t first, std::uint64_t* sums) {
    constexpr int vectors = 2 * blocks;  // of 8 outputs
    __m512i sum[pixels][vectors];
    const std::uint64_t* x[pixels];
#pragma GCC unroll 8
    for (int p = 0; p < pixels; ++p) {
        x[p] = product.words + product.offsets[first + p];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[p][v] = _mm512_setzero_si512();
    }
    const std::int16_t* w = product.weights;
    for (std::size_t run = 0; run < product.runs; ++run) {
        const std::size_t start = run * product.run_stride;
        for (std::size_t k = start; k < start + product.run_length; ++k, w += block_outputs) {
            __m512i weight[vectors];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) {
                const auto* eight = w + static_cast<std::size_t>(v / 2) * product.block_stride + v % 2 * 8;
                weight[v] = _mm512_cvtepi16_epi64(_mm_load_si128(reinterpret_cast<const __m128i*>(eight)));
            }
#pragma GCC unroll 8
            for (int p = 0; p < pixels; ++p) {
                const __m512i value = _mm512_set1_epi64(static_cast<long long>(x[p][k]));
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) sum[p][v] = Arithmetic::multiply_add(sum[p][v], value, weight[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) _mm512_storeu_si512(sums + (p * vectors + v) * 8, sum[p][v]);
    }
}

// Cuts the pixels into tiles of nearly equal size: six and one would waste most of the second.
template <class Sum, class Tile>
void for_each_tile(const Product& product, Sum* sums, const Tile& tile) {
    const std::size_t tiles = (product.pixels + tile_pixels - 1) / tile_pixels;
    for (std::size_t i = 0; i < tiles; ++i) {
        const std::size_t first = product.pixels * i / tiles;
        Sum* target = sums + first * product.blocks * block_outputs;
        tile(first, product.pixels * (i + 1) / tiles - first, target);
    }
}

template <int blocks>
void narrow_blocks(const Product& product, std::uint32_t* sums) {
    for_each_tile(product, sums, [&](std::size_t first, std::size_t pixels, std::uint32_t* target) {
        switch (pixels) {
            case 1: return narrow_tile<1, blocks>(product, first, target);
            case 2: return narrow_tile<2, blocks>(product, first, target);
            case 3: return narrow_tile<3, blocks>(product, first, target);
            case 4: return narrow_tile<4, blocks>(product, first, target);
            case 5: return narrow_tile<5, blocks>(product, first, target);
            default: return narrow_tile<6, blocks>(product, first, target);
        }
    });
}

template <class Arithmetic, int blocks>
void wide_blocks(const Product& product, std::uint64_t* sums) {
    for_each_tile(product, sums, [&](std::size_t first, std::size_t pixels, std::uint64_t* target) {
        switch (pixels) {
            case 1: return wide_tile<Arithmetic, 1, blocks>(product, first, target);
            case 2: return wide_tile<Arithmetic, 2, blocks>(product, first, target);
            case 3: return wide_tile<Arithmetic, 3, blocks>(product, first, target);
            case 4: return wide_tile<Arithmetic, 4, blocks>(product, first, target);
            case 5: return wide_tile<Arithmetic, 5, blocks>(product, first, target);
            default: return wide_tile<Arithmetic, 6, blocks>(product, first, target);
        }
    });
}

void narrow(const Product& product, std::uint32_t* sums) {
    product.blocks == 2 ? narrow_blocks<2>(product, sums) : narrow_blocks<1>(product, sums);
}

void wide(const Product& product, std::uint64_t* sums) {
    if (product.bits <= 52) {
        product.blocks == 2 ? wide_blocks<Ifma, 2>(product, sums) : wide_blocks<Ifma, 1>(product, sums);
    } else {
        product.blocks == 2 ? wide_blocks<Full, 2>(product, sums) : wide_blocks<Full, 1>(product, sums);
    }
}

template <class Step>
void spin(std::uint64_t rounds, const Step& step) {
    __m512i sum[24];
#pragma GCC unroll 24
    for (auto& lane : sum) lane = _mm512_setzero_si512();
    __m512i x = _mm512_set1_epi64(3), w = _mm512_set1_epi64(5);
    for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
        for (auto& lane : sum) {
            asm volatile("" : "+v"(x));  // else the compiler multiplies once for all rounds
            lane = step(lane, x, w);
        }
    }
#pragma GCC unroll 24
    for (auto& lane : sum) asm volatile("" : : "v"(lane));
}

std::uint64_t multiply_adds(std::uint64_t rounds, unsigned bits) {
    if (bits <= 32) {
        spin(rounds, [](__m512i sum, __m512i x, __m512i w) { return _mm512_dpwssd_epi32(sum, x, w); });
        return rounds * 24 * 32 / 2;  // 32 int16 products each, two per ring product
    }
    if (bits <= 52) {
        spin(rounds, Ifma::multiply_add);
    } else {
        spin(rounds, Full::multiply_add);
    }
    return rounds * 24 * 8;
}

}  // namespace

const MatmulKernels matmul{Layout::words64, narrow, wide, depthwise, multiply_adds};

}  // namespace deepreduce::ring::avx512
