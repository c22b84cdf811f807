// The messages of the homomorphic phase as bytes. Everything read is checked: lengths before, residues while
// reading.
//
//   public key, client to server, once per session:   seed | pk0      pk1 = expand(seed)
//   packing keys, with it, `primes` for each level:   seed | k0       k1 = expand(seed)
//   upload, client to server, one per channel block:  seed | c0       c1 = expand(seed)
//   response, server to client:                       c1 | useful c0
//
// Polynomials of the first three are evaluations (order: ring/ntt.hpp), prime after prime, 50 bits a residue; neither
// side then transforms the uniform half. Those of a response are coefficients, cut to their top bits.
#pragma once

#include "he/parameters.hpp"

namespace deepreduce::he {

// [primes][N] uniform residues from the stream of a public seed: per prime N 64-bit words cut to 50 bits; then those
// not below the prime, in order, are drawn again until they are. Takes a time that depends on the seed, which is
// public.
void expand(u64* out, const Seed& seed, const Parameters& parameters);

// [primes][N] residues <-> 50 bits each. `unpack` throws std::invalid_argument at a residue that is not below its
// prime.
void pack_residues(std::uint8_t* out, const u64* x, const Parameters& parameters);
void unpack_residues(u64* out, const std::uint8_t* data, const Parameters& parameters);

// An encryption of the first three kinds: both halves, [primes][N] each. Throws like `unpack_residues`.
void read_encryption(u64* c0, u64* c1, const std::uint8_t* data, const Parameters& parameters);

// A response: `kept` arrays of residues, c1 [N] and useful c0 [count], the arrays `c1_stride` and `c0_stride` words
// apart. A coefficient x < q' is sent as floor(x / 2^dropped) and read as the middle of what it may have been.
void pack_response(std::uint8_t* out, const u64* c1, const u64* c0, std::size_t count, std::size_t c1_stride,
                   std::size_t c0_stride, const Parameters& parameters);
void unpack_response(u64* c1, u64* c0, const std::uint8_t* data, std::size_t count, std::size_t c1_stride,
                     std::size_t c0_stride, const Parameters& parameters);

}  // namespace deepreduce::he
