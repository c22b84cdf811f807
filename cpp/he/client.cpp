#include "he/client.hpp"

#include <cstring>

#include "base/parallel.hpp"
#include "he/messages.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {

Client::Client(unsigned ring_bits, SeedSource seeds)
    : parameters_(he::parameters(ring_bits)), seeds_(std::move(seeds)) {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    Prg prg(seeds_());
    SecretVector<u64> words(n);
    SecretVector<std::int8_t> small(n);
    prg.fill(words.data(), 8 * n);
    poly.ternary(small.data(), words.data(), n);
    secret_.resize(ps.primes * n);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        u64* const s = secret_.data() + k * n;
        poly.embed(s, small.data(), n, ps.ntts[k].prime);
        poly.forward(s, ps.ntts[k]);
        poly.scale(s, ps.ntts[k].prime.r, n, ps.ntts[k].prime);
    }
    // The public key is an encryption of zero: pk0 = e - pk1 s.
    const Seed uniform = seeds_();
    SecretVector<u64> c0(ps.primes * n), c1(ps.primes * n);
    std::memset(c0.data(), 0, c0.size() * 8);
    encrypt_zero(c0.data(), c1.data(), uniform, prg);
    public_key_.resize(ps.public_key_bytes());
    std::memcpy(public_key_.data(), &uniform, lattice::seed_bytes);
    pack_residues(public_key_.data() + lattice::seed_bytes, c0.data(), ps);
}

// c0, the coefficients of an encoded message, becomes evaluations of c0 + e - c1 s.
void Client::encrypt_zero(u64* c0, u64* c1, const Seed& uniform, Prg& secret) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    SecretVector<u64> words(n);
    SecretVector<std::int8_t> error(n);
    secret.fill(words.data(), 8 * n);
    poly.errors(error.data(), words.data(), n);
    expand(c1, uniform, ps);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        u64 *const a = c0 + k * n, *const b = c1 + k * n;
        poly.add_small(a, error.data(), n, prime);
        poly.forward(a, ps.ntts[k]);
        poly.multiply(b, b, secret_.data() + k * n, n, prime);
        poly.subtract(a, b, n, prime);
    }
}

void Client::encrypt(std::uint8_t* out, const u64* polynomials, std::size_t count, unsigned threads) const {
    const Parameters& ps = *parameters_;
    const std::size_t n = ps.degree;
    std::vector<Seed> uniform(count);
    SecretVector<Seed> errors(count);
    for (std::size_t i = 0; i < count; ++i) {
        uniform[i] = seeds_();
        errors[i] = seeds_();
    }
    parallel_for(count, threads, [&](std::size_t first, std::size_t last) {
        const auto& poly = ring::polynomial_kernels();
        SecretVector<u64> message(n), c0(ps.primes * n), c1(ps.primes * n);
        for (std::size_t i = first; i < last; ++i) {
            std::memcpy(message.data(), polynomials + i * n, 8 * n);
            for (std::size_t k = 0; k < ps.primes; ++k) {
                poly.encode(c0.data() + k * n, message.data(), n, ps.q_low, ps.ring_bits, ps.inverse_t[k],
                            ps.ntts[k].prime);
            }
            Prg prg(errors[i]);
            encrypt_zero(c0.data(), c1.data(), uniform[i], prg);
            std::uint8_t* const upload = out + i * ps.upload_bytes();
            std::memcpy(upload, &uniform[i], lattice::seed_bytes);
            pack_residues(upload + lattice::seed_bytes, c0.data(), ps);
        }
    });
}

// Calls take(index of the value, (x 2^l + floor(q' / 2)) mod q') for every useful coefficient x of c0 + c1 s.
template <class Take>
void Client::open(const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets, std::size_t count,
                  unsigned threads, Take take) const {
    const Parameters& ps = *parameters_;
    const std::size_t n = ps.degree;
    std::vector<std::size_t> starts(count + 1, 0);
    for (std::size_t i = 0; i < count; ++i) {
        starts[i + 1] = starts[i] + ps.response_bytes(static_cast<std::size_t>(offsets[i + 1] - offsets[i]));
    }
    parallel_for(count, threads, [&](std::size_t first, std::size_t last) {
        const auto& poly = ring::polynomial_kernels();
        SecretVector<u64> c1(ps.kept * n), c0(ps.kept * n);
        for (std::size_t i = first; i < last; ++i) {
            const std::size_t begin = static_cast<std::size_t>(offsets[i]);
            const std::size_t useful = static_cast<std::size_t>(offsets[i + 1]) - begin;
            unpack_response(c1.data(), c0.data(), responses + starts[i], useful, n, n, ps);
            for (std::size_t k = 0; k < ps.kept; ++k) {
                u64* const product = c1.data() + k * n;
                poly.forward(product, ps.ntts[k]);
                poly.multiply(product, product, secret_.data() + k * n, n, ps.ntts[k].prime);
                poly.inverse(product, ps.ntts[k]);
            }
            for (std::size_t j = 0; j < useful; ++j) {
                u64 residues[2] = {};
                for (std::size_t k = 0; k < ps.kept; ++k) {
                    const u64 p = ps.ntts[k].prime.p;
                    const u64 x = c0[k * n + j] + c1[k * n + static_cast<std::size_t>(positions[begin + j])];
                    const u64 r = ring::multiply(x, ps.t[k], p) + ps.half[k] - p;
                    residues[k] = r + (p & (u64{0} - (r >> 63)));
                }
                take(begin + j, ps.combine(residues[0], residues[1]));
            }
        }
    });
}

void Client::decrypt(u64* values, const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets,
                     std::size_t count, unsigned threads) const {
    const u64 half = static_cast<u64>(parameters_->response_modulus / 2);
    const u64 inverse = parameters_->inverse_response_modulus, mask = ~u64{0} >> (64 - parameters_->ring_bits);
    open(responses, positions, offsets, count, threads,
         [=](std::size_t i, u128 remainder) { values[i] = (half - static_cast<u64>(remainder)) * inverse & mask; });
}

void Client::noise(double* noise, const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets,
                   std::size_t count, unsigned threads) const {
    const u128 half = parameters_->response_modulus / 2;
    open(responses, positions, offsets, count, threads, [=](std::size_t i, u128 remainder) {
        noise[i] = static_cast<double>(static_cast<__int128>(remainder - half)) / static_cast<double>(half);
    });
}

}  // namespace deepreduce::he
