// The transform itself, written once over lanes. Include from polynomials_*.cpp only.
//
// Forward: Cooley and Tukey, values in [0, 4p); inverse: Gentleman and Sande, values in [0, 2p); both with Harvey's
// lazy butterflies. Layers are taken three at a time in eight registers, so that memory is touched every third layer.
#pragma once

#include "ring/polynomials.hpp"

namespace deepreduce::ring {
namespace {

// `layers` layers that begin with m groups of n / m coefficients.
template <class Lane, unsigned layers>
void forward_layers(u64* x, const Factors& twiddles, std::size_t m, std::size_t n, u64 prime) {
    constexpr unsigned rows = 1u << layers;
    const auto p = Lane::all(prime), two_p = Lane::all(2 * prime);
    const std::size_t stride = n / m / rows;
    for (std::size_t group = 0; group < m; ++group) {
        typename Lane::Multiplier w[rows - 1];
        for (unsigned layer = 0; layer < layers; ++layer) {
            for (unsigned h = 0; h < (1u << layer); ++h) {
                w[(1u << layer) - 1 + h] = Lane::broadcast(twiddles, ((m + group) << layer) + h);
            }
        }
        u64* const base = x + group * (n / m);
        for (std::size_t k = 0; k < stride; k += Lane::width) {
            typename Lane::Value v[rows];
#pragma GCC unroll 8
            for (unsigned r = 0; r < rows; ++r) v[r] = Lane::load(base + r * stride + k);
#pragma GCC unroll 3
            for (unsigned layer = 0; layer < layers; ++layer) {
                const unsigned half = rows >> (layer + 1);
#pragma GCC unroll 4
                for (unsigned i = 0; i < rows / 2; ++i) {
                    const unsigned h = i / half, a = i + h * half, b = a + half;
                    const auto even = Lane::reduce_once(v[a], two_p);
                    const auto odd = Lane::multiply(v[b], w[(1u << layer) - 1 + h], p);
                    v[a] = Lane::add(even, odd);
                    v[b] = Lane::add(Lane::subtract(even, odd), two_p);
                }
            }
#pragma GCC unroll 8
            for (unsigned r = 0; r < rows; ++r) Lane::store(base + r * stride + k, v[r]);
        }
    }
}

// `layers` layers that end with m groups of n / m coefficients; the last of all if m = 1, which scales by 1 / n.
template <class Lane, unsigned layers>
void inverse_layers(u64* x, const Ntt& ntt, std::size_t m, std::size_t n) {
    constexpr unsigned rows = 1u << layers;
    const u64 prime = ntt.prime.p;
    const auto p = Lane::all(prime), two_p = Lane::all(2 * prime);
    const auto scale = Lane::multiplier(ntt.scale);
    const std::size_t stride = n / m / rows;
    for (std::size_t group = 0; group < m; ++group) {
        typename Lane::Multiplier w[rows - 1];
        for (unsigned layer = 0; layer < layers; ++layer) {
            for (unsigned h = 0; h < (1u << layer); ++h) {
                w[(1u << layer) - 1 + h] = Lane::broadcast(ntt.inverse_outer, ((m + group) << layer) + h);
            }
        }
        u64* const base = x + group * (n / m);
        for (std::size_t k = 0; k < stride; k += Lane::width) {
            typename Lane::Value v[rows];
#pragma GCC unroll 8
            for (unsigned r = 0; r < rows; ++r) v[r] = Lane::load(base + r * stride + k);
#pragma GCC unroll 3
            for (unsigned up = 0; up < layers; ++up) {
                const unsigned layer = layers - 1 - up;
                const unsigned half = rows >> (layer + 1);
                const bool last = layer == 0 && m == 1;
#pragma GCC unroll 4
                for (unsigned i = 0; i < rows / 2; ++i) {
                    const unsigned h = i / half, a = i + h * half, b = a + half;
                    const auto sum = Lane::add(v[a], v[b]);
                    const auto difference = Lane::add(Lane::subtract(v[a], v[b]), two_p);
                    const auto product = Lane::multiply(difference, w[(1u << layer) - 1 + h], p);
                    v[a] = last ? Lane::reduce_once(Lane::multiply(sum, scale, p), p) : Lane::reduce_once(sum, two_p);
                    v[b] = last ? Lane::reduce_once(product, p) : product;
                }
            }
#pragma GCC unroll 8
            for (unsigned r = 0; r < rows; ++r) Lane::store(base + r * stride + k, v[r]);
        }
    }
}

// How many of `left` layers to take next: as many as fit the registers, but not leaving one alone.
template <class Lane>
unsigned next_layers(unsigned left) {
    if (left <= Lane::layers) return left;
    return left == Lane::layers + 1 && left > 2 ? left - 2 : Lane::layers;
}

template <class Lane>
void forward(u64* x, const Ntt& ntt) {
    const std::size_t n = ntt.degree;
    const u64 prime = ntt.prime.p;
    unsigned left = 0;
    while ((std::size_t{8} << left) < n) ++left;
    for (std::size_t m = 1; left;) {
        const unsigned now = next_layers<Lane>(left);
        if (now == 3) forward_layers<Lane, 3>(x, ntt.outer, m, n, prime);
        if (now == 2) forward_layers<Lane, 2>(x, ntt.outer, m, n, prime);
        if (now == 1) forward_layers<Lane, 1>(x, ntt.outer, m, n, prime);
        m <<= now;
        left -= now;
    }
    const auto p = Lane::all(prime), two_p = Lane::all(2 * prime);
    for (std::size_t run = 0; run < n / 64; ++run) {
        u64* const base = x + 64 * run;
        typename Lane::Value all[8 / Lane::width][8];
        for (std::size_t part = 0; part < 8 / Lane::width; ++part) {
            auto& v = all[part];
            // Row r of the loads is a lane's coefficient r after the transposition, for `width` groups of 8 side by
            // side.
#pragma GCC unroll 8
            for (unsigned r = 0; r < 8; ++r) v[r] = Lane::load(base + 8 * Lane::width * part + r * Lane::width);
            Lane::transpose(v);
#pragma GCC unroll 3
            for (unsigned layer = 0; layer < 3; ++layer) {
                const unsigned half = 4u >> layer;
#pragma GCC unroll 4
                for (unsigned i = 0; i < 4; ++i) {
                    const unsigned h = i / half, a = i + h * half, b = a + half;
                    const auto w = Lane::load(ntt.inner, (run * 7 + (1u << layer) - 1 + h) * 8 + part * Lane::width);
                    const auto even = Lane::reduce_once(v[a], two_p);
                    const auto odd = Lane::multiply(v[b], w, p);
                    v[a] = Lane::add(even, odd);
                    v[b] = Lane::add(Lane::subtract(even, odd), two_p);
                }
            }
        }
        for (std::size_t part = 0; part < 8 / Lane::width; ++part) {
#pragma GCC unroll 8
            for (unsigned r = 0; r < 8; ++r) {
                const auto canonical = Lane::reduce_once(Lane::reduce_once(all[part][r], two_p), p);
                Lane::store(base + 8 * r + part * Lane::width, canonical);
            }
        }
    }
}

template <class Lane>
void inverse(u64* x, const Ntt& ntt) {
    const std::size_t n = ntt.degree;
    const auto p = Lane::all(ntt.prime.p), two_p = Lane::all(2 * ntt.prime.p);
    for (std::size_t run = 0; run < n / 64; ++run) {
        u64* const base = x + 64 * run;
        typename Lane::Value all[8 / Lane::width][8];
        for (std::size_t part = 0; part < 8 / Lane::width; ++part) {
            auto& v = all[part];
#pragma GCC unroll 8
            for (unsigned r = 0; r < 8; ++r) v[r] = Lane::load(base + 8 * r + part * Lane::width);
#pragma GCC unroll 3
            for (unsigned up = 0; up < 3; ++up) {
                const unsigned layer = 2 - up;
                const unsigned half = 4u >> layer;
#pragma GCC unroll 4
                for (unsigned i = 0; i < 4; ++i) {
                    const unsigned h = i / half, a = i + h * half, b = a + half;
                    const auto w =
                        Lane::load(ntt.inverse_inner, (run * 7 + (1u << layer) - 1 + h) * 8 + part * Lane::width);
                    const auto sum = Lane::add(v[a], v[b]);
                    const auto difference = Lane::add(Lane::subtract(v[a], v[b]), two_p);
                    v[a] = Lane::reduce_once(sum, two_p);
                    v[b] = Lane::multiply(difference, w, p);
                }
            }
            Lane::transpose(v);
        }
        for (std::size_t part = 0; part < 8 / Lane::width; ++part) {
#pragma GCC unroll 8
            for (unsigned r = 0; r < 8; ++r) {
                Lane::store(base + 8 * Lane::width * part + r * Lane::width, all[part][r]);
            }
        }
    }
    unsigned layers[16], passes = 0, left = 0;
    while ((std::size_t{8} << left) < n) ++left;
    std::size_t m = n / 8;
    while (left) left -= layers[passes++] = next_layers<Lane>(left);
    while (passes--) {
        m >>= layers[passes];
        if (layers[passes] == 3) inverse_layers<Lane, 3>(x, ntt, m, n);
        if (layers[passes] == 2) inverse_layers<Lane, 2>(x, ntt, m, n);
        if (layers[passes] == 1) inverse_layers<Lane, 1>(x, ntt, m, n);
    }
}

}  // namespace
}  // namespace deepreduce::ring
