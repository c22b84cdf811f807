// Eight residues per register with the 52-bit multiply-add of AVX-512 IFMA.
#include <immintrin.h>

#include "ring/bits.hpp"
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
    static constexpr unsigned layers = 3;
    static constexpr std::size_t dot_lanes = 4;

    static Value load(const u64* p) { return _mm512_loadu_si512(p); }
    static Value load_small(const std::int8_t* p) {
        return _mm512_cvtepi8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    static Value gather(const u64* p, const std::uint32_t* places) {
        return _mm512_i32gather_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(places)), p, 8);
    }
    static void store(u64* p, Value x) { _mm512_store_si512(p, x); }
    static Value all(u64 x) { return _mm512_set1_epi64(static_cast<i64>(x)); }
    static Value add(Value a, Value b) { return _mm512_add_epi64(a, b); }
    static Value subtract(Value a, Value b) { return _mm512_sub_epi64(a, b); }
    static Value bits_and(Value a, Value b) { return _mm512_and_si512(a, b); }
    static Value shift_right(Value a, unsigned n) {
        return _mm512_srl_epi64(a, _mm_cvtsi32_si128(static_cast<int>(n)));
    }
    static Value multiply_low(Value a, Value b) { return _mm512_mullo_epi64(a, b); }
    static Value if_negative(Value x, Value m) { return _mm512_and_si512(m, _mm512_srai_epi64(x, 63)); }
    static Value reduce_once(Value x, Value m) { return _mm512_min_epu64(x, _mm512_sub_epi64(x, m)); }

    struct Multiplier {
        Value raised, low;
    };
    static Multiplier multiplier(const Factor& f) { return {all(f.raised), all(f.low)}; }
    static Multiplier broadcast(const Factors& f, std::size_t i) { return {all(f.raised[i]), all(f.low[i])}; }
    static Multiplier load(const Factors& f, std::size_t i) { return {load(f.raised + i), load(f.low + i)}; }
    // x f mod p in [0, 2p), for x < 2^52.
    static Value multiply(Value x, const Multiplier& f, Value p) {
        const Value zero = _mm512_setzero_si512();
        const Value m = _mm512_madd52lo_epu64(zero, x, f.low);
        const Value negated_p = _mm512_sub_epi64(zero, p);
        return _mm512_sub_epi64(_mm512_madd52hi_epu64(zero, x, f.raised), _mm512_madd52hi_epu64(negated_p, m, p));
    }

    static void prefetch(const u64* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
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

    static void pack(const u64* x, std::size_t n, unsigned bits, std::uint8_t* out);
    static void unpack(const std::uint8_t* data, std::size_t n, unsigned bits, u64* x);
};

// How eight numbers of `bits` bits lie in `bits` bytes, in words of 16 bits: number i starts in word i bits / 16, at
// bit i bits % 16, which leaves room for 50 bits (all shifts are even) or, of odd widths, 49 in the word and the next
// three.
struct EightNumbers {
    alignas(64) std::uint16_t gather[32], scatter[2][32];
    alignas(64) u64 shift[8];
    __mmask32 written[2] = {0, 0};  // words with bits of an even, of an odd number

    explicit EightNumbers(unsigned bits) {
        for (auto& word : gather) word = 0;
        for (unsigned i = 0; i < 8; ++i) {
            shift[i] = i * bits % 16;
            for (unsigned k = 0; k < 4; ++k) {
                const unsigned word = i * bits / 16 + k;
                gather[4 * i + k] = static_cast<std::uint16_t>(word);
                if (16 * word >= (i + 1) * bits) continue;
                scatter[i % 2][word] = static_cast<std::uint16_t>(4 * i + k);
                written[i % 2] |= __mmask32{1} << word;
            }
        }
    }
    static bool fit(unsigned bits) { return bits >= 32 && (bits <= 49 || bits == 50); }
};

void IfmaLane::pack(const u64* x, std::size_t n, unsigned bits, std::uint8_t* out) {
    const std::size_t whole = EightNumbers::fit(bits) ? n / 8 : 0;
    const EightNumbers layout(bits);
    const auto words = [](const void* p) { return _mm512_load_si512(p); };
    const Value mask = all((u64{1} << (bits % 64)) - 1), shift = words(layout.shift);
    const Value even = words(layout.scatter[0]), odd = words(layout.scatter[1]);
    for (std::size_t group = 0; group < whole; ++group, x += 8, out += bits) {
        const Value moved = _mm512_sllv_epi64(_mm512_and_si512(_mm512_loadu_si512(x), mask), shift);
        const Value packed = _mm512_or_si512(_mm512_maskz_permutexvar_epi16(layout.written[0], even, moved),
                                             _mm512_maskz_permutexvar_epi16(layout.written[1], odd, moved));
        _mm512_mask_storeu_epi8(out, (u64{1} << bits) - 1, packed);
    }
    ring::pack(x, n - 8 * whole, bits, out);
}

void IfmaLane::unpack(const std::uint8_t* data, std::size_t n, unsigned bits, u64* x) {
    const std::size_t whole = EightNumbers::fit(bits) ? n / 8 : 0;
    const EightNumbers layout(bits);
    const Value mask = all((u64{1} << (bits % 64)) - 1), shift = _mm512_load_si512(layout.shift);
    const Value gather = _mm512_load_si512(layout.gather);
    for (std::size_t group = 0; group < whole; ++group, data += bits, x += 8) {
        const Value packed = _mm512_maskz_loadu_epi8((u64{1} << bits) - 1, data);
        const Value moved = _mm512_srlv_epi64(_mm512_permutexvar_epi16(gather, packed), shift);
        _mm512_storeu_si512(x, _mm512_and_si512(moved, mask));
    }
    ring::unpack(data, n - 8 * whole, bits, x);
}

}  // namespace

const polynomials::Kernels polynomials::avx512_kernels = kernels_of<IfmaLane>();

}  // namespace deepreduce::ring
