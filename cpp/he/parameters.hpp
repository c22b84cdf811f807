// A parameter set with one ring Z_2^l, and everything that follows from the two.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/prg.hpp"
#include "base/random.hpp"
#include "params/lattice.hpp"
#include "ring/bits.hpp"
#include "ring/ntt.hpp"

namespace deepreduce::he {

using ring::Factor;
using ring::i64;
using ring::u128;
using ring::u64;

// Where seeds come from. Anything but `os_seed` is for tests of transcripts.
using SeedSource = std::function<Seed()>;
inline Seed os_seed() { return random_seed(); }

struct Parameters {
    const lattice::Set& set;
    unsigned ring_bits;                   // l
    std::size_t degree, primes, kept;     // N; primes of q; primes of q' after the switch (the last one is dropped)
    std::vector<ring::Ntt> ntts;          // one per prime
    u64 q_low;                            // q mod 2^64
    std::vector<Factor> inverse_t;        // 2^-l mod each prime
    std::vector<Factor> flood_center;     // 2^(flood_bits + 2) mod each prime
    std::vector<Factor> inverse_dropped;  // of the dropped prime, modulo each kept one
    // Decryption: round(x 2^l / q') for x mod q' without a division. With h = floor(q' / 2), r = (x 2^l + h) mod q',
    // the quotient is (h - r) / q' mod 2^l, since q' is odd.
    std::vector<Factor> t;         // 2^l mod each kept prime
    std::vector<u64> half;         // h mod each kept prime
    u128 response_modulus;         // q'
    u64 inverse_response_modulus;  // modulo 2^64
    Factor garner;                 // 1 / p0 mod p1, where two primes are kept
    Factor high_limb[2];           // 2^50 modulo each kept prime
    std::vector<Factor> one;       // modulo each prime: `scale` by it takes a residue of another prime below this one
    std::vector<std::uint32_t> evaluation_powers;

    unsigned c1_width, c0_width;      // bits of a coefficient in a response
    unsigned c1_dropped, c0_dropped;  // low bits cut off a residue below 2^(50 kept)

    explicit Parameters(unsigned ring_bits);

    std::size_t polynomial_bytes() const { return ring::packed_bytes(degree * primes, lattice::prime_bits); }
    std::size_t upload_bytes() const { return lattice::seed_bytes + polynomial_bytes(); }
    std::size_t public_key_bytes() const { return upload_bytes(); }
    std::size_t packing_key_bytes() const { return primes * upload_bytes(); }
    std::size_t response_bytes(std::size_t useful) const {
        return ring::packed_bytes(degree, c1_width) + ring::packed_bytes(useful, c0_width);
    }
    // The number below q' with the given residues.
    u128 combine(u64 r0, u64 r1) const;
};

// Built once per ring; throws std::invalid_argument outside 2 <= ring_bits <= 64.
std::shared_ptr<const Parameters> parameters(unsigned ring_bits);

}  // namespace deepreduce::he
