#include "he/messages.hpp"

#include <stdexcept>
#include <string>

namespace deepreduce::he {
namespace {

constexpr u64 limb_mask = (u64{1} << lattice::prime_bits) - 1;

void pack_cut(BitWriter& out, const u64* x, std::size_t count, std::size_t stride, unsigned width, unsigned dropped,
              const Parameters& parameters) {
    if (parameters.kept == 1) {
        for (std::size_t i = 0; i < count; ++i) out.put(x[i] >> dropped, width);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const u128 value = parameters.combine(x[i], x[stride + i]) >> dropped;
        const unsigned low = width < lattice::prime_bits ? width : lattice::prime_bits;
        out.put(static_cast<u64>(value) & (~u64{0} >> (64 - low)), low);
        if (width > low) out.put(static_cast<u64>(value >> low), width - low);
    }
}

void unpack_cut(u64* x, BitReader& in, std::size_t count, std::size_t stride, unsigned width, unsigned dropped,
                const Parameters& parameters) {
    const unsigned low = width < lattice::prime_bits ? width : lattice::prime_bits;
    for (std::size_t i = 0; i < count; ++i) {
        u128 value = in.get(low);
        if (width > low) value |= static_cast<u128>(in.get(width - low)) << low;
        value <<= dropped;
        if (value >= parameters.response_modulus) {
            throw std::invalid_argument("response: coefficient " + std::to_string(i) + " is not below the modulus; damaged or of other parameters");
        }
        value += u128{1} << (dropped - 1);
        for (std::size_t k = 0; k < parameters.kept; ++k) {
            const u64 p = lattice::primes[k];
            u64 residue = static_cast<u64>(value) & limb_mask;
            if (parameters.kept > 1) residue += ring::multiply(static_cast<u64>(value >> lattice::prime_bits), parameters.high_limb[k], p);
            residue -= p & (u64{0} - (residue >= p));
            x[k * stride + i] = residue - (p & (u64{0} - (residue >= p)));
        }
    }
}

}  // namespace

void expand(u64* out, const Seed& seed, const Parameters& parameters) {
    Prg prg(seed);
    for (std::size_t k = 0; k < parameters.primes; ++k, out += parameters.degree) {
        const u64 p = lattice::primes[k];
        prg.fill(out, 8 * parameters.degree);
        u64 outside = 0;
        for (std::size_t i = 0; i < parameters.degree; ++i) {
            out[i] &= limb_mask;
            outside |= p - 1 - out[i];
        }
        if (!(outside >> 63)) continue;  // all but one stream in a thousand or more, the primes being so close to 2^50
        for (std::size_t i = 0; i < parameters.degree; ++i) {
            while (out[i] >= p) {
                prg.fill(out + i, 8);
                out[i] &= limb_mask;
            }
        }
    }
}

void pack_residues(std::uint8_t* out, const u64* x, const Parameters& parameters) {
    BitWriter writer(out);
    for (std::size_t i = 0; i < parameters.primes * parameters.degree; ++i) writer.put(x[i], lattice::prime_bits);
    writer.finish();
}

void unpack_residues(u64* out, const std::uint8_t* data, const Parameters& parameters) {
    BitReader reader(data, parameters.polynomial_bytes());
    for (std::size_t k = 0; k < parameters.primes; ++k) {
        const u64 p = lattice::primes[k];
        u64 outside = 0;
        for (std::size_t i = 0; i < parameters.degree; ++i) {
            const u64 x = reader.get(lattice::prime_bits);
            outside |= p - 1 - x;
            out[k * parameters.degree + i] = x;
        }
        if (outside >> 63) {
            throw std::invalid_argument("ciphertext: a residue is not below the prime " + std::to_string(p) + "; damaged or of other parameters");
        }
    }
}

void pack_response(std::uint8_t* out, const u64* c1, const u64* c0, std::size_t count, std::size_t c1_stride,
                   std::size_t c0_stride, const Parameters& parameters) {
    BitWriter first(out);
    pack_cut(first, c1, parameters.degree, c1_stride, parameters.c1_width, parameters.c1_dropped, parameters);
    BitWriter second(first.finish());
    pack_cut(second, c0, count, c0_stride, parameters.c0_width, parameters.c0_dropped, parameters);
    second.finish();
}

void unpack_response(u64* c1, u64* c0, const std::uint8_t* data, std::size_t count, std::size_t c1_stride,
                     std::size_t c0_stride, const Parameters& parameters) {
    const std::size_t c1_bytes = packed_bytes(parameters.degree, parameters.c1_width);
    BitReader first(data, c1_bytes);
    unpack_cut(c1, first, parameters.degree, c1_stride, parameters.c1_width, parameters.c1_dropped, parameters);
    BitReader second(data + c1_bytes, packed_bytes(count, parameters.c0_width));
    unpack_cut(c0, second, count, c0_stride, parameters.c0_width, parameters.c0_dropped, parameters);
    if (!first.padding_is_zero() || (count && !second.padding_is_zero())) {
        throw std::invalid_argument("response: the bits that pad the last byte are not zero; damaged or of other parameters");
    }
}

}  // namespace deepreduce::he
