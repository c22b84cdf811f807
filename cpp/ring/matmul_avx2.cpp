// AVX2: vpmaddwd on 16-bit limbs for rings up to 32 bits, vpmuldq on 32-bit halves above.
//
// limbs16: sum(w * low) + (sum(w * high) << 16). vpmaddwd multiplies two int16 pairs exactly and adds the products; its
// only overflow, twice (-2^15)^2, cannot happen as |w| < 2^15. The lanes that collect the sums may wrap: all is mod
// 2^32.
// halves32: the same with 32-bit halves in 64-bit lanes: sum(w * low) + (sum(w * high) << 32).
#include <immintrin.h>

#include "ring/matmul.hpp"

namespace deepreduce::ring::avx2 {
namespace {

#include "ring/depthwise.ipp"

// 3 pixels x 2 vectors x 2 limbs are 12 of the 16 registers; inputs, weights and a product need the rest.
constexpr std::size_t tile_pixels = 3;
constexpr int vectors = 2;

// Weights of two vectors, each times the low and the high limb of one pixel after the other.
struct Limbs16 {
    using Sum = std::uint32_t;
    static constexpr int lanes = 8, step = 2;
    static const std::int16_t* at(const Product& product, std::size_t offset) { return product.low + offset; }
    static __m256i weight(const std::int16_t* w) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(w)); }
    static __m256i low(const std::int16_t* x) {
        int pair;
        __builtin_memcpy(&pair, x, sizeof pair);
        return _mm256_set1_epi32(pair);
    }
    static __m256i high(const std::int16_t* x, std::ptrdiff_t to_high) { return low(x + to_high); }
    static __m256i multiply_add(__m256i sum, __m256i x, __m256i w) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
    }
    static __m256i combine(__m256i low, __m256i high) { return _mm256_add_epi32(low, _mm256_slli_epi32(high, 16)); }
};

struct Halves32 {
    using Sum = std::uint64_t;
    static constexpr int lanes = 4, step = 1;
    static const std::uint64_t* at(const Product& product, std::size_t offset) { return product.words + offset; }
    static __m256i weight(const std::int16_t* w) {
        return _mm256_cvtepi16_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w)));
    }
    static __m256i low(const std::uint64_t* x) { return _mm256_set1_epi64x(static_cast<long long>(*x)); }
    static __m256i high(const std::uint64_t* x, std::ptrdiff_t) {
        int half;
        __builtin_memcpy(&half, reinterpret_cast<const char*>(x) + 4, sizeof half);
        return _mm256_set1_epi32(half);
    }
    static __m256i multiply_add(__m256i sum, __m256i x, __m256i w) {
        return _mm256_add_epi64(sum, _mm256_mul_epi32(x, w));
    }
    static __m256i combine(__m256i low, __m256i high) { return _mm256_add_epi64(low, _mm256_slli_epi64(high, 32)); }
};

// Outputs [lane0, lane0 + 2 lanes) of one block.
template <class Arithmetic, int pixels>
void tile(const Product& product, const std::int16_t* w, std::size_t first, typename Arithmetic::Sum* sums) {
    __m256i low[pixels][vectors], high[pixels][vectors];
    decltype(Arithmetic::at(product, 0)) x[pixels];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) {
        x[p] = Arithmetic::at(product, product.offsets[first + static_cast<std::size_t>(p)]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) low[p][v] = high[p][v] = _mm256_setzero_si256();
    }
    const std::ptrdiff_t to_high = product.high - product.low;
    for (std::size_t run = 0; run < product.runs; ++run) {
        const std::size_t start = run * product.run_stride;
        for (std::size_t k = start; k < start + product.run_length; k += Arithmetic::step) {
            __m256i weight[vectors];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) {
                weight[v] = Arithmetic::weight(w + v * Arithmetic::lanes * Arithmetic::step);
            }
            w += block_outputs * Arithmetic::step;
#pragma GCC unroll 4
            for (int p = 0; p < pixels; ++p) {
                const __m256i x_low = Arithmetic::low(x[p] + k);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) low[p][v] = Arithmetic::multiply_add(low[p][v], x_low, weight[v]);
                const __m256i x_high = Arithmetic::high(x[p] + k, to_high);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; ++v) high[p][v] = Arithmetic::multiply_add(high[p][v], x_high, weight[v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            auto* target = sums + static_cast<std::size_t>(p) * product.blocks * block_outputs + v * Arithmetic::lanes;
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), Arithmetic::combine(low[p][v], high[p][v]));
        }
    }
}

template <class Arithmetic>
void multiply(const Product& product, typename Arithmetic::Sum* sums) {
    constexpr std::size_t outputs = vectors * Arithmetic::lanes;  // of one tile: a whole block of 16, or half of one
    const std::size_t tiles = (product.pixels + tile_pixels - 1) / tile_pixels;
    for (std::size_t output = 0; output < product.blocks * block_outputs; output += outputs) {
        const std::int16_t* w =
            product.weights + output / block_outputs * product.block_stride + output % block_outputs * Arithmetic::step;
        for (std::size_t i = 0; i < tiles; ++i) {
            const std::size_t first = product.pixels * i / tiles;
            auto* target = sums + first * product.blocks * block_outputs + output;
            switch (product.pixels * (i + 1) / tiles - first) {
                case 1: tile<Arithmetic, 1>(product, w, first, target); break;
                case 2: tile<Arithmetic, 2>(product, w, first, target); break;
                default: tile<Arithmetic, 3>(product, w, first, target); break;
            }
        }
    }
}

void narrow(const Product& product, std::uint32_t* sums) { multiply<Limbs16>(product, sums); }

void wide(const Product& product, std::uint64_t* sums) { multiply<Halves32>(product, sums); }

template <class Arithmetic>
std::uint64_t spin(std::uint64_t rounds) {
    __m256i sum[12];
#pragma GCC unroll 12
    for (auto& lane : sum) lane = _mm256_setzero_si256();
    __m256i x = _mm256_set1_epi64x(3), w = _mm256_set1_epi64x(5);
    for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (auto& lane : sum) {
            asm volatile("" : "+x"(x));  // else the compiler multiplies once for all rounds
            lane = Arithmetic::multiply_add(lane, x, w);
        }
    }
#pragma GCC unroll 12
    for (auto& lane : sum) asm volatile("" : : "x"(lane));
    return rounds * 12 * Arithmetic::lanes * Arithmetic::step / 2;  // two limb products per ring product
}

std::uint64_t multiply_adds(std::uint64_t rounds, unsigned bits) {
    return bits <= 32 ? spin<Limbs16>(rounds) : spin<Halves32>(rounds);
}

}  // namespace

const MatmulKernels matmul{Layout::halves32, narrow, wide, depthwise, multiply_adds};

}  // namespace deepreduce::ring::avx2
