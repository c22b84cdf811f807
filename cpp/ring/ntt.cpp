#include "ring/ntt.hpp"

#include <stdexcept>

namespace deepreduce::ring {
namespace {

std::size_t reverse_bits(std::size_t i, unsigned bits) {
    std::size_t reversed = 0;
    for (unsigned b = 0; b < bits; ++b) reversed |= ((i >> b) & 1) << (bits - 1 - b);
    return reversed;
}

// A primitive 2n-th root of unity: g^((p-1)/2n) has order 2n exactly if its n-th power is -1. The smallest g that
// works.
u64 find_root(std::size_t n, u64 p) {
    for (u64 g = 2;; ++g) {
        const u64 root = power_public(g, (p - 1) / (2 * n), p);
        if (power_public(root, n, p) == p - 1) return root;
    }
}

unsigned log2_of(std::size_t n) {
    unsigned bits = 0;
    while ((std::size_t{1} << bits) < n) ++bits;
    return bits;
}

}  // namespace

std::vector<std::uint32_t> evaluation_powers(std::size_t n) {
    const unsigned bits = log2_of(n);
    std::vector<std::uint32_t> powers(n);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t transposed = i / 64 * 64 + i % 8 * 8 + i / 8 % 8;
        powers[i] = static_cast<std::uint32_t>(2 * reverse_bits(transposed, bits) + 1);
    }
    return powers;
}

Ntt::Ntt(std::size_t n, u64 p)
    : degree(n),
      prime(p),
      outer(n / 8),
      inner(n / 64 * 56),
      inverse_outer(n / 8),
      inverse_inner(n / 64 * 56),
      scale(factor_public(inverse_public(n, p), p)) {
    if (n < 64 || (n & (n - 1)) || (p - 1) % (2 * n))
        throw std::invalid_argument("NTT: the prime must be 1 mod 2N, N a power of two");
    const unsigned bits = log2_of(n);
    const u64 root = find_root(n, p), inverse_root = inverse_public(root, p);
    AlignedVector<u64> powers(n), inverses(n);  // of the twiddle number i: root^reverse(i)
    u64 a = 1, b = 1;
    for (std::size_t k = 0; k < n; ++k, a = multiply_public(a, root, p), b = multiply_public(b, inverse_root, p)) {
        powers[reverse_bits(k, bits)] = a;
        inverses[reverse_bits(k, bits)] = b;
    }
    for (std::size_t i = 0; i < n / 8; ++i) {
        outer.set(i, powers[i], p);
        inverse_outer.set(i, i == 1 ? multiply_public(inverses[i], scale.value, p) : inverses[i], p);
    }
    for (std::size_t run = 0; run < n / 64; ++run) {
        for (unsigned layer = 0, row = 0; layer < 3; ++layer) {
            for (unsigned h = 0; h < (1u << layer); ++h, ++row) {
                for (std::size_t group = 0; group < 8; ++group) {
                    const std::size_t twiddle = (n / 8 << layer) + ((8 * run + group) << layer) + h;
                    inner.set((run * 7 + row) * 8 + group, powers[twiddle], p);
                    inverse_inner.set((run * 7 + row) * 8 + group, inverses[twiddle], p);
                }
            }
        }
    }
}

}  // namespace deepreduce::ring
