#include "he/messages.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/secret_vector.hpp"
#include "he/bit_stream.hpp"
#include "ring/element.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {
namespace {

constexpr u64 limb_mask = (u64{1} << lattice::prime_bits) - 1;

// x - p unless that is negative.
u64 below(u64 x, u64 p) { return x - p + (p & (u64{0} - ((x - p) >> 63))); }

[[noreturn]] void refuse_coefficient() {
    throw std::invalid_argument("response: a coefficient is not below the modulus; damaged or of other parameters");
}

// A wide coefficient goes as two limbs, the low one of 50 bits; in all `width` bits, least significant first.
void pack_wide(std::uint8_t* out, const u64* x, std::size_t count, std::size_t stride, unsigned width, unsigned dropped,
               const Parameters& parameters) {
    const unsigned low = std::min(width, lattice::prime_bits);
    BitWriter writer(out);
    for (std::size_t i = 0; i < count; ++i) {
        const u128 value = parameters.combine(x[i], x[stride + i]) >> dropped;
        writer.put(static_cast<u64>(value) & ring::mask(low), low);
        if (width > low) writer.put(static_cast<u64>(value >> low), width - low);
    }
    writer.finish();
}

void unpack_wide(u64* x, const std::uint8_t* data, std::size_t count, std::size_t stride, unsigned width,
                 unsigned dropped, const Parameters& parameters) {
    const unsigned low = std::min(width, lattice::prime_bits);
    BitReader reader(data, ring::packed_bytes(count, width));
    for (std::size_t i = 0; i < count; ++i) {
        u128 value = reader.get(low);
        if (width > low) value |= static_cast<u128>(reader.get(width - low)) << low;
        value <<= dropped;
        if (value >= parameters.response_modulus) refuse_coefficient();
        value += u128{1} << (dropped - 1);
        for (std::size_t k = 0; k < 2; ++k) {
            const u64 p = lattice::primes[k];
            u64 residue = static_cast<u64>(value) & limb_mask;
            residue += ring::multiply(static_cast<u64>(value >> lattice::prime_bits), parameters.high_limb[k], p);
            x[k * stride + i] = below(below(residue, p), p);
        }
    }
}

void pack_cut(std::uint8_t* out, const u64* x, std::size_t count, std::size_t stride, unsigned width, unsigned dropped,
              const Parameters& parameters) {
    if (parameters.kept > 1) return pack_wide(out, x, count, stride, width, dropped, parameters);
    SecretVector<u64> cut(count);
    for (std::size_t i = 0; i < count; ++i) cut[i] = x[i] >> dropped;
    ring::polynomial_kernels().pack(cut.data(), count, width, out);
}

void unpack_cut(u64* x, const std::uint8_t* data, std::size_t count, std::size_t stride, unsigned width,
                unsigned dropped, const Parameters& parameters) {
    if (!ring::padding_is_zero(data, count, width)) {
        throw std::invalid_argument(
            "response: the bits that pad the last byte are not zero; damaged or of other parameters");
    }
    if (parameters.kept > 1) return unpack_wide(x, data, count, stride, width, dropped, parameters);
    const auto& poly = ring::polynomial_kernels();
    const u64 p = lattice::primes[0], half = u64{1} << (dropped - 1);
    poly.unpack(data, count, width, x);
    if (!poly.all_below(x, count, (p >> dropped) + 1)) refuse_coefficient();
    for (std::size_t i = 0; i < count; ++i) x[i] = below((x[i] << dropped) + half, p);
}

}  // namespace

void expand(u64* out, const Seed& seed, const Parameters& parameters) {
    const auto& poly = ring::polynomial_kernels();
    Prg prg(Seed{seed.value});  // public, and sent without a nonce
    for (std::size_t k = 0; k < parameters.primes; ++k, out += parameters.degree) {
        const u64 p = lattice::primes[k];
        prg.fill(out, 8 * parameters.degree);
        for (std::size_t i = 0; i < parameters.degree; ++i) out[i] &= limb_mask;
        if (poly.all_below(out, parameters.degree, p)) continue;  // nearly always, the primes being so close to 2^50
        for (std::size_t i = 0; i < parameters.degree; ++i) {
            while (out[i] >= p) {
                alignas(16) u64 word;
                prg.fill(&word, 8);
                out[i] = word & limb_mask;
            }
        }
    }
}

void pack_residues(std::uint8_t* out, const u64* x, const Parameters& parameters) {
    ring::polynomial_kernels().pack(x, parameters.primes * parameters.degree, lattice::prime_bits, out);
}

void unpack_residues(u64* out, const std::uint8_t* data, const Parameters& parameters) {
    const auto& poly = ring::polynomial_kernels();
    poly.unpack(data, parameters.primes * parameters.degree, lattice::prime_bits, out);
    for (std::size_t k = 0; k < parameters.primes; ++k) {
        const u64 p = lattice::primes[k];
        if (!poly.all_below(out + k * parameters.degree, parameters.degree, p)) {
            throw std::invalid_argument("ciphertext: a residue is not below the prime " + std::to_string(p) +
                                        "; damaged or of other parameters");
        }
    }
}

void read_encryption(u64* c0, u64* c1, const std::uint8_t* data, const Parameters& parameters) {
    Seed seed;
    std::memcpy(&seed.value, data, lattice::seed_bytes);
    unpack_residues(c0, data + lattice::seed_bytes, parameters);
    expand(c1, seed, parameters);
}

void pack_response(std::uint8_t* out, const u64* c1, const u64* c0, std::size_t count, std::size_t c1_stride,
                   std::size_t c0_stride, const Parameters& parameters) {
    pack_cut(out, c1, parameters.degree, c1_stride, parameters.c1_width, parameters.c1_dropped, parameters);
    out += ring::packed_bytes(parameters.degree, parameters.c1_width);
    pack_cut(out, c0, count, c0_stride, parameters.c0_width, parameters.c0_dropped, parameters);
}

void unpack_response(u64* c1, u64* c0, const std::uint8_t* data, std::size_t count, std::size_t c1_stride,
                     std::size_t c0_stride, const Parameters& parameters) {
    unpack_cut(c1, data, parameters.degree, c1_stride, parameters.c1_width, parameters.c1_dropped, parameters);
    data += ring::packed_bytes(parameters.degree, parameters.c1_width);
    unpack_cut(c0, data, count, c0_stride, parameters.c0_width, parameters.c0_dropped, parameters);
}

}  // namespace deepreduce::he
