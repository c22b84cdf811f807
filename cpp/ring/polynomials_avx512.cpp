// Eight residues per register with the 52-bit multiply-add of AVX-512 IFMA.
#include <immintrin.h>

#include "ring/elementwise.hpp"
#include "ring/transform.hpp"

namespace deepreduce::ring {
namespace {

struct IfmaLane {
    using Value = __m512i;
    // Sums of the low and of the high halves of products.
    struct Sum {
        __m512i low, high;
    };
    static constexpr std::size_t width = 8;
    static constexpr std::size_t dot_lanes = 4;

    static Value load(const u64* p) { return _mm512_load_si512(p); }
    static Value load_small(const std::int8_t* p) {
        return _mm512_cvtepi8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    static void store(u64* p, Value x) { _mm512_store_si512(p, x); }
    static Value all(u64 x) { return _mm512_set1_epi64(static_cast<i64>(x)); }
    static Value add(Value a, Value b) { return _mm512_add_epi64(a, b); }
    static Value subtract(Value a, Value b) { return _mm512_sub_epi64(a, b); }
    static Value bits_and(Value a, Value b) { return _mm512_and_si512(a, b); }
    static Value shift_right(Value a, unsigned n) { return _mm512_srl_epi64(a, _mm_cvtsi32_si128(static_cast<int>(n))); }
    static Value multiply_low(Value a, Value b) { return _mm512_mullo_epi64(a, b); }
    static Value if_negative(Value x, Value m) { return _mm512_and_si512(m, _mm512_srai_epi64(x, 63)); }
    static Value reduce_once(Value x, Value m) { return _mm512_min_epu64(x, _mm512_sub_epi64(x, m)); }

    struct Multiplier {
        Value value, quotient;
    };
    static Multiplier multiplier(const Factor& f) { return {all(f.value), all(f.quotient52)}; }
    static Multiplier broadcast(const Factors& f, std::size_t i) {
        return {all(f.values[i]), all(f.quotients52[i])};
    }
    static Multiplier load(const Factors& f, std::size_t i) {
        return {load(f.values + i), load(f.quotients52 + i)};
    }
    // x f mod p in [0, 2p), for x < 2^52.
    static Value multiply(Value x, const Multiplier& f, Value p) {
        const Value zero = _mm512_setzero_si512();
        const Value quotient = _mm512_madd52hi_epu64(zero, x, f.quotient);
        const Value difference =
            _mm512_sub_epi64(_mm512_madd52lo_epu64(zero, x, f.value), _mm512_madd52lo_epu64(zero, quotient, p));
        return _mm512_and_si512(difference, all((u64{1} << 52) - 1));
    }

    static Sum zero() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
    static void add_product(Sum& sum, Value a, Value b) {
        sum.low = _mm512_madd52lo_epu64(sum.low, a, b);
        sum.high = _mm512_madd52hi_epu64(sum.high, a, b);
    }
    static void split(const Sum& sum, Value& low, Value& high) {
        low = _mm512_and_si512(sum.low, all((u64{1} << 52) - 1));
        high = _mm512_add_epi64(sum.high, _mm512_srli_epi64(sum.low, 52));
    }
    static Value product_low(Value a, Value b) { return _mm512_madd52lo_epu64(_mm512_setzero_si512(), a, b); }
    static Value product_high(Value a, Value b) { return _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, b); }

    static void transpose(Value (&x)[8]) {
        Value pairs[8], quads[8];
        for (int i = 0; i < 8; i += 2) {
            pairs[i] = _mm512_unpacklo_epi64(x[i], x[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi64(x[i], x[i + 1]);
        }
        for (int i = 0; i < 8; i += 4) {
            for (int k = 0; k < 2; ++k) {
                quads[i + k] = _mm512_shuffle_i64x2(pairs[i + k], pairs[i + k + 2], 0x88);
                quads[i + k + 2] = _mm512_shuffle_i64x2(pairs[i + k], pairs[i + k + 2], 0xdd);
            }
        }
        for (int k = 0; k < 4; ++k) {
            x[k] = _mm512_shuffle_i64x2(quads[k], quads[k + 4], 0x88);
            x[k + 4] = _mm512_shuffle_i64x2(quads[k], quads[k + 4], 0xdd);
        }
    }
};

}  // namespace

const polynomials::Kernels polynomials::avx512_kernels = kernels_of<IfmaLane>();

}  // namespace deepreduce::ring
