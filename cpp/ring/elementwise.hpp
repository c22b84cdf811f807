// Everything but the transform, written once over lanes. Include from polynomials_*.cpp only.
#pragma once

#include "ring/polynomials.hpp"

namespace deepreduce::ring {
namespace {

// (low + 2^52 high) / 2^52 mod p, canonical, for low < 2^52, high < 2^60.
//
// With m = -low / p mod 2^52, low + m p is a multiple of 2^52, and adding it to 2^52 high gives high + product_high(m,
// p) + (1 if low > 0), as the two low halves add up to 2^52 unless both are 0.
template <class Lane>
typename Lane::Value montgomery(typename Lane::Value low, typename Lane::Value high, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    const auto m = Lane::product_low(low, Lane::all(prime.negated_inverse));
    const auto carry = Lane::shift_right(Lane::add(low, Lane::all((u64{1} << 52) - 1)), 52);
    // high = a 2^50 + b = a fold + b mod p: a < 2^10, so this is below 2^50 + 2^31; then + p + 1 < 3p.
    const auto top = Lane::product_low(Lane::shift_right(high, lattice::prime_bits), Lane::all(prime.fold));
    const auto bottom = Lane::bits_and(high, Lane::all((u64{1} << lattice::prime_bits) - 1));
    const auto sum = Lane::add(Lane::add(top, bottom), Lane::add(Lane::product_high(m, p), carry));
    return Lane::reduce_once(Lane::reduce_once(sum, Lane::all(2 * prime.p)), p);
}

template <class Lane>
void multiply(u64* out, const u64* a, const u64* b, std::size_t n, const Prime& prime) {
    for (std::size_t i = 0; i < n; i += Lane::width) {
        auto sum = Lane::zero();
        Lane::add_product(sum, Lane::load(a + i), Lane::load(b + i));
        typename Lane::Value low, high;
        Lane::split(sum, low, high);
        Lane::store(out + i, montgomery<Lane>(low, high, prime));
    }
}

template <class Lane>
void scale(u64* x, const Factor& f, std::size_t n, const Prime& prime) {
    const auto factor = Lane::multiplier(f);
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        Lane::store(x + i, Lane::reduce_once(Lane::multiply(Lane::load(x + i), factor, p), p));
    }
}

template <class Lane>
typename Lane::Value difference(typename Lane::Value a, typename Lane::Value b, typename Lane::Value p) {
    const auto d = Lane::subtract(a, b);
    return Lane::add(d, Lane::if_negative(d, p));
}

template <class Lane>
void subtract(u64* x, const u64* y, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        Lane::store(x + i, difference<Lane>(Lane::load(x + i), Lane::load(y + i), p));
    }
}

template <class Lane>
void add(u64* x, const u64* y, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        Lane::store(x + i, Lane::reduce_once(Lane::add(Lane::load(x + i), Lane::load(y + i)), p));
    }
}

// x / 2 mod p for x < p: x, or x + p if x is odd, shifted.
template <class Lane>
typename Lane::Value half(typename Lane::Value x, typename Lane::Value p) {
    const auto odd = Lane::subtract(Lane::all(0), Lane::bits_and(x, Lane::all(1)));  // all ones, or 0
    return Lane::shift_right(Lane::add(x, Lane::bits_and(odd, p)), 1);
}

template <class Lane>
void halves(u64* a, u64* other, const u64* b, const u64* c, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        auto sum = Lane::zero();
        Lane::add_product(sum, Lane::load(b + i), Lane::load(c + i));
        typename Lane::Value low, high;
        Lane::split(sum, low, high);
        const auto x = Lane::load(a + i), y = montgomery<Lane>(low, high, prime);
        Lane::store(a + i, half<Lane>(Lane::reduce_once(Lane::add(x, y), p), p));
        Lane::store(other + i, half<Lane>(difference<Lane>(x, y, p), p));
    }
}

template <class Lane>
void add_permuted(u64* x, const u64* y, const std::uint32_t* places, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        Lane::store(x + i, Lane::reduce_once(Lane::add(Lane::load(x + i), Lane::gather(y, places + i)), p));
    }
}

template <class Lane>
void dot(u64* out0, u64* out1, const u64* w, std::size_t stride, const u64* x, std::size_t terms, const u64* u,
         const u64* key, const Prime& prime) {
    constexpr std::size_t lanes = Lane::dot_lanes, step = lanes * Lane::width;
    for (std::size_t at = 0; at < dot_width; at += step) {
        typename Lane::Sum sums[2][lanes];
#pragma GCC unroll 4
        for (std::size_t i = 0; i < lanes; ++i) sums[0][i] = sums[1][i] = Lane::zero();
        const auto accumulate = [&](const u64* a, const u64* b) {
#pragma GCC unroll 4
            for (std::size_t i = 0; i < lanes; ++i) {
                const auto value = Lane::load(a + at + i * Lane::width);
                Lane::add_product(sums[0][i], value, Lane::load(b + at + i * Lane::width));
                Lane::add_product(sums[1][i], value, Lane::load(b + dot_width + at + i * Lane::width));
            }
        };
        for (std::size_t j = 0; j < terms; ++j) {
            // The weights come from memory once per inference, in the order of this loop, across its ends.
            for (std::size_t line = 0; line < step; line += 8) Lane::prefetch(w + (j + 10) * stride + at + line);
            accumulate(w + j * stride, x + j * 2 * dot_width);
        }
        accumulate(u, key);
#pragma GCC unroll 4
        for (std::size_t i = 0; i < lanes; ++i) {
            typename Lane::Value low, high;
            Lane::split(sums[0][i], low, high);
            Lane::store(out0 + at + i * Lane::width, montgomery<Lane>(low, high, prime));
            Lane::split(sums[1][i], low, high);
            Lane::store(out1 + at + i * Lane::width, montgomery<Lane>(low, high, prime));
        }
    }
}

template <class Lane>
void embed(u64* out, const std::int8_t* small, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        const auto value = Lane::load_small(small + i);
        Lane::store(out + i, Lane::add(value, Lane::if_negative(value, p)));
    }
}

template <class Lane>
void add_small(u64* x, const std::int8_t* small, std::size_t n, const Prime& prime) {
    const auto p = Lane::all(prime.p);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        const auto value = Lane::load_small(small + i);
        const auto residue = Lane::add(value, Lane::if_negative(value, p));
        Lane::store(x + i, Lane::reduce_once(Lane::add(Lane::load(x + i), residue), p));
    }
}

template <class Lane>
void encode(u64* out, const u64* m, std::size_t n, u64 q_low, unsigned ring_bits, const Factor& inverse,
            const Prime& prime) {
    const auto p = Lane::all(prime.p), q = Lane::all(q_low);
    const auto half = Lane::all(u64{1} << (ring_bits - 1));
    const auto mask = Lane::all(~u64{0} >> (64 - ring_bits)), mask32 = Lane::all(0xffffffff);
    const auto by_inverse = Lane::multiplier(inverse), by_two32 = Lane::multiplier(prime.two32);
    const auto constant = Lane::all((prime.p + 1) / 2);  // 2^(l-1) 2^-l
    for (std::size_t i = 0; i < n; i += Lane::width) {
        const auto r = Lane::bits_and(Lane::add(Lane::multiply_low(Lane::load(m + i), q), half), mask);
        // r may have 64 bits, more than a lane multiplies: by halves.
        const auto top = Lane::multiply(Lane::shift_right(r, 32), by_two32, p);
        const auto reduced = Lane::add(top, Lane::bits_and(r, mask32));
        const auto product = Lane::reduce_once(Lane::multiply(reduced, by_inverse, p), p);
        Lane::store(out + i, difference<Lane>(constant, product, p));
    }
}

template <class Lane>
void add_flood(u64* x, const u64* words, std::size_t n, unsigned bits, const Factor& center, const Prime& prime) {
    const auto p = Lane::all(prime.p), two_p = Lane::all(2 * prime.p);
    const auto mask32 = Lane::all(0xffffffff), top_mask = Lane::all((u64{1} << (bits - 63)) - 1);
    const auto by_two32 = Lane::multiplier(prime.two32), by_two64 = Lane::multiplier(prime.two64);
    const auto offset = Lane::all(prime.p - center.value);  // the center is 2^(bits + 2): four times half the range
    for (std::size_t i = 0; i < n; i += Lane::width) {
        auto low = Lane::all(0), middle = Lane::all(0), high = Lane::all(0);
        const auto tops = Lane::load(words + 4 * n + i);
#pragma GCC unroll 4
        for (unsigned k = 0; k < 4; ++k) {
            const auto word = Lane::load(words + k * n + i);
            low = Lane::add(low, Lane::bits_and(word, mask32));
            middle = Lane::add(middle, Lane::shift_right(word, 32));
            high = Lane::add(high, Lane::bits_and(Lane::shift_right(tops, 16 * k), top_mask));
        }
        auto sum = Lane::add(Lane::multiply(middle, by_two32, p), Lane::multiply(high, by_two64, p));  // < 4p
        sum = Lane::reduce_once(Lane::reduce_once(sum, two_p), p);
        sum = Lane::add(Lane::add(sum, low), Lane::add(Lane::load(x + i), offset));  // < 3p + 2^34
        Lane::store(x + i, Lane::reduce_once(Lane::reduce_once(sum, two_p), p));
    }
}

template <class Lane>
void switch_down(u64* x, const u64* last, std::size_t n, u64 dropped, const Factor& inverse, const Prime& prime) {
    const auto p = Lane::all(prime.p), d = Lane::all(dropped), half = Lane::all((dropped - 1) / 2);
    const auto factor = Lane::multiplier(inverse);
    for (std::size_t i = 0; i < n; i += Lane::width) {
        // round(v / d) = (v + h - r) / d with h = (d - 1) / 2 and r = (v + h) mod d. |p - d| < 2^21: one step suffices
        // to take r below p, and h < p.
        const auto r = Lane::reduce_once(Lane::reduce_once(Lane::add(Lane::load(last + i), half), d), p);
        const auto raised = Lane::reduce_once(Lane::add(Lane::load(x + i), half), p);
        Lane::store(x + i, Lane::reduce_once(Lane::multiply(difference<Lane>(raised, r, p), factor, p), p));
    }
}

// The number of ones among bits 0-20 less the number among bits 32-52.
template <class Lane>
void errors(std::int8_t* out, const u64* words, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        u64 w = words[i] & 0x001fffff001fffff;
        w = w - ((w >> 1) & 0x5555555555555555);
        w = (w & 0x3333333333333333) + ((w >> 2) & 0x3333333333333333);
        w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0f;
        w = w + (w >> 8);
        w = w + (w >> 16);
        out[i] = static_cast<std::int8_t>((w & 0xff) - ((w >> 32) & 0xff));
    }
}

// Which third of [-2^62, 2^62) the word falls in, read as a signed number and halved so that no difference overflows.
// Not (byte * 3) >> 8, which is biased.
template <class Lane>
void ternary(std::int8_t* out, const u64* words, std::size_t n) {
    constexpr i64 third = (i64{1} << 62) / 3;
    for (std::size_t i = 0; i < n; ++i) {
        const i64 x = static_cast<i64>(words[i]) >> 1;
        out[i] = static_cast<std::int8_t>(1 + ((x - third) >> 63) + ((x + third) >> 63));
    }
}

template <class Lane>
bool all_below(const u64* x, std::size_t n, u64 bound) {
    u64 negative = ~u64{0};
    for (std::size_t i = 0; i < n; ++i) negative &= x[i] - bound;
    return negative >> 63;
}

template <class Lane>
void forward(u64* x, const Ntt& ntt);
template <class Lane>
void inverse(u64* x, const Ntt& ntt);

template <class Lane>
constexpr polynomials::Kernels kernels_of() {
    return {forward<Lane>, inverse<Lane>,      multiply<Lane>, scale<Lane>, add<Lane>,       subtract<Lane>,
            halves<Lane>,  add_permuted<Lane>, dot<Lane>,      embed<Lane>, add_small<Lane>, encode<Lane>,
            add_flood<Lane>, switch_down<Lane>, errors<Lane>,  ternary<Lane>, Lane::pack,    Lane::unpack,
            all_below<Lane>};
}

}  // namespace
}  // namespace deepreduce::ring
