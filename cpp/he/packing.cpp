#include "he/packing.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "he/messages.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {
namespace {

constexpr std::size_t width = ring::dot_width;

std::size_t level_of(std::size_t spacing) { return static_cast<std::size_t>(std::countr_zero(spacing)); }

}  // namespace

std::vector<std::uint32_t> automorphism(unsigned level, const Parameters& ps) {
    const std::size_t n = ps.degree, element = (n >> level) + 1;
    std::vector<std::uint32_t> place_of(2 * n), places(n);
    for (std::size_t i = 0; i < n; ++i) place_of[ps.evaluation_powers[i]] = static_cast<std::uint32_t>(i);
    for (std::size_t i = 0; i < n; ++i) places[i] = place_of[element * ps.evaluation_powers[i] % (2 * n)];
    return places;
}

PackingKeys::PackingKeys(std::shared_ptr<const Parameters> parameters, const std::vector<unsigned>& levels,
                         const std::uint8_t* keys)
    : parameters_(std::move(parameters)), keys_(static_cast<std::size_t>(std::countr_zero(parameters_->degree))) {
    const Parameters& ps = *parameters_;
    const std::size_t n = ps.degree, chunks = n / width;
    AlignedVector<u64> halves[2] = {AlignedVector<u64>(ps.primes * n), AlignedVector<u64>(ps.primes * n)};
    for (const unsigned level : levels) {
        if (level >= keys_.size()) {
            throw std::invalid_argument("packing key of level " + std::to_string(level) + ", must be below log2 N = " +
                                        std::to_string(keys_.size()));
        }
        Key& key = keys_[level];
        key = {automorphism(level, ps), AlignedVector<u64>(2 * ps.primes * ps.primes * n)};
        for (std::size_t residue = 0; residue < ps.primes; ++residue, keys += ps.upload_bytes()) {
            read_encryption(halves[0].data(), halves[1].data(), keys, ps);
            for (std::size_t half = 0; half < 2; ++half) {
                for (std::size_t k = 0; k < ps.primes; ++k) {
                    u64* const from = halves[half].data() + k * n;
                    ring::polynomial_kernels().scale(from, ps.ntts[k].prime.r, n, ps.ntts[k].prime);
                    for (std::size_t i = 0; i < n; ++i) {
                        const std::size_t to = key.places[i];
                        key.evaluations[(((k * chunks + to / width) * ps.primes + residue) * 2 + half) * width + to % width] = from[i];
                    }
                }
            }
        }
    }
}

bool PackingKeys::has(std::size_t spacing) const {
    return level_of(spacing) < keys_.size() && !keys_[level_of(spacing)].places.empty();
}

PackingKeys::Workspace::Workspace(const Parameters& ps)
    : differences(2 * ps.primes * ps.degree), residues(ps.primes * ps.primes * ps.degree), product(ps.degree) {}

void PackingKeys::merge(Workspace& work, u64* a, const u64* b, std::size_t spacing, const u64* shift) const {
    const Parameters& ps = *parameters_;
    const Key& key = keys_[level_of(spacing)];
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree, chunks = n / width;
    const auto residues = [&](std::size_t k, std::size_t residue) {
        return work.residues.data() + (k * ps.primes + residue) * n;
    };
    u64 *const firsts = work.differences.data(), *const seconds = firsts + ps.primes * n;
    for (std::size_t half = 0; half < 2; ++half) {
        for (std::size_t k = 0; k < ps.primes; ++k) {
            const std::size_t at = (half * ps.primes + k) * n;
            u64* const difference = half ? residues(k, k) : firsts + k * n;
            poly.halves(a + at, difference, b + at, shift + k * n, n, ps.ntts[k].prime);
        }
    }
    for (std::size_t residue = 0; residue < ps.primes; ++residue) {
        u64* const coefficients = seconds + residue * n;
        std::memcpy(coefficients, residues(residue, residue), n * 8);
        poly.inverse(coefficients, ps.ntts[residue]);
        for (std::size_t k = 0; k < ps.primes; ++k) {
            if (k == residue) continue;
            std::memcpy(residues(k, residue), coefficients, n * 8);
            poly.scale(residues(k, residue), ps.one[k], n, ps.ntts[k].prime);
            poly.forward(residues(k, residue), ps.ntts[k]);
        }
    }
    u64* const product = work.product.data();
    for (std::size_t k = 0; k < ps.primes; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        u64 *const first = firsts + k * n, *const second = seconds + k * n;
        for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
            const u64* const keys = key.evaluations.data() + (k * chunks + chunk) * ps.primes * 2 * width;
            poly.dot(product + chunk * width, second + chunk * width, residues(k, 0) + chunk * width, n, keys,
                     ps.primes - 1, residues(k, ps.primes - 1) + chunk * width, keys + (ps.primes - 1) * 2 * width, prime);
        }
        poly.add(first, product, n, prime);
        poly.add_permuted(a + k * n, first, key.places.data(), n, prime);
        poly.add_permuted(a + (ps.primes + k) * n, second, key.places.data(), n, prime);
    }
}

}  // namespace deepreduce::he
