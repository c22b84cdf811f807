#include "he/parameters.hpp"

#include <mutex>
#include <stdexcept>
#include <string>

namespace deepreduce::he {

using ring::factor_public;
using ring::inverse_public;
using ring::power_public;

Parameters::Parameters(unsigned l)
    : set(lattice::set_for(l)),
      ring_bits(l),
      degree(set.degree),
      primes(set.primes),
      kept(set.response_primes),
      q_low(1),
      response_modulus(1),
      garner{},
      high_limb{},
      evaluation_powers(ring::evaluation_powers(set.degree)) {
    const u64 last = lattice::primes[primes - 1];
    for (std::size_t i = 0; i < primes; ++i) {
        const u64 p = lattice::primes[i];
        ntts.emplace_back(degree, p);
        q_low *= p;
        one.push_back(factor_public(1, p));
        inverse_t.push_back(factor_public(inverse_public(power_public(2, l, p), p), p));
        flood_center.push_back(factor_public(power_public(2, set.flood_bits + 2, p), p));
        if (i >= kept) continue;
        inverse_dropped.push_back(factor_public(inverse_public(last % p, p), p));
        t.push_back(factor_public(power_public(2, l, p), p));
        high_limb[i] = factor_public(power_public(2, lattice::prime_bits, p), p);
        response_modulus *= p;
    }
    for (std::size_t i = 0; i < kept; ++i) half.push_back(static_cast<u64>(response_modulus / 2 % lattice::primes[i]));
    inverse_response_modulus = ring::inverse_mod_2_64(static_cast<u64>(response_modulus));
    if (kept == 2) {
        const u64 p0 = lattice::primes[0], p1 = lattice::primes[1];
        garner = factor_public(inverse_public(p0 % p1, p1), p1);
    }
    const unsigned residue_bits = lattice::prime_bits * static_cast<unsigned>(kept);
    c1_width = l + lattice::response_c1_bits;
    c0_width = l + lattice::response_c0_bits;
    c1_dropped = residue_bits - c1_width;
    c0_dropped = residue_bits - c0_width;
}

u128 Parameters::combine(u64 r0, u64 r1) const {
    if (kept == 1) return r0;
    // x = r0 + p0 ((r1 - r0) / p0 mod p1); p0 > p1, and r0 - p1 < p1.
    const u64 p0 = lattice::primes[0], p1 = lattice::primes[1];
    u64 a = r0 - p1;
    a += p1 & (u64{0} - (a >> 63));
    u64 d = r1 - a;
    d += p1 & (u64{0} - (d >> 63));
    return r0 + static_cast<u128>(p0) * ring::multiply(d, garner, p1);
}

std::shared_ptr<const Parameters> parameters(unsigned ring_bits) {
    if (ring_bits < lattice::rlwe_4096.min_ring_bits || ring_bits > lattice::rlwe_8192.max_ring_bits) {
        throw std::invalid_argument("ring_bits is " + std::to_string(ring_bits) + ", must be 2 to 64");
    }
    static std::mutex guard;
    static std::shared_ptr<const Parameters> known[65];
    const std::lock_guard lock(guard);
    if (!known[ring_bits]) known[ring_bits] = std::make_shared<Parameters>(ring_bits);
    return known[ring_bits];
}

}  // namespace deepreduce::he
