#include "he/client.hpp"

#include <algorithm>
#include <cstring>

#include "base/parallel.hpp"
#include "he/messages.hpp"
#include "he/packing.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {

// What an encryption needs between its steps; wiped at the end, as the errors open a ciphertext.
struct Client::Workspace {
    SecretVector<u64> c0, c1;  // [primes][N]
    SecretVector<u64> words;   // [N]
    SecretVector<std::int8_t> small;

    explicit Workspace(const Parameters& ps)
        : c0(ps.primes * ps.degree), c1(ps.primes * ps.degree), words(ps.degree), small(ps.degree) {}
};

Client::Client(unsigned ring_bits, SeedSource seeds)
    : parameters_(he::parameters(ring_bits)), seeds_(std::move(seeds)) {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    Prg prg(seeds_());
    Workspace work(ps);
    prg.fill(work.words.data(), 8 * n);
    poly.ternary(work.small.data(), work.words.data(), n);
    secret_.resize(ps.primes * n);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        u64* const s = secret_.data() + k * n;
        poly.embed(s, work.small.data(), n, ps.ntts[k].prime);
        poly.forward(s, ps.ntts[k]);
        poly.scale(s, ps.ntts[k].prime.r, n, ps.ntts[k].prime);
    }
    // The public key is an encryption of zero: pk0 = e - pk1 s.
    const Seed uniform = seeds_();
    encrypt_zero(work, uniform, prg);  // c0 is zero so far
    public_key_.resize(ps.public_key_bytes());
    std::memcpy(public_key_.data(), &uniform.value, lattice::seed_bytes);
    pack_residues(public_key_.data() + lattice::seed_bytes, work.c0.data(), ps);
}

// work.c0, the coefficients of an encoded message, becomes evaluations of c0 + e - c1 s.
void Client::encrypt_zero(Workspace& work, const Seed& uniform, Prg& secret) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    secret.fill(work.words.data(), 8 * n);
    poly.errors(work.small.data(), work.words.data(), n);
    expand(work.c1.data(), uniform, ps);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        u64 *const a = work.c0.data() + k * n, *const b = work.c1.data() + k * n;
        poly.add_small(a, work.small.data(), n, prime);
        poly.forward(a, ps.ntts[k]);
        poly.multiply(b, b, secret_.data() + k * n, n, prime);
        poly.subtract(a, b, n, prime);
    }
}

void Client::packing_keys(std::uint8_t* out, const std::vector<unsigned>& levels) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    const AlignedVector<u64> one(n, 1);
    Workspace work(ps);
    for (const unsigned level : levels) {
        const auto places = automorphism(level, ps);
        for (std::size_t k = 0; k < ps.primes; ++k, out += ps.upload_bytes()) {
            const Seed uniform = seeds_();
            Prg prg(seeds_());
            std::fill(work.c0.begin(), work.c0.end(), u64{0});
            encrypt_zero(work, uniform, prg);
            // The number that is 1 modulo this prime and 0 modulo the others, times the automorphism of the secret.
            poly.multiply(work.words.data(), secret_.data() + k * n, one.data(), n, ps.ntts[k].prime);
            poly.add_permuted(work.c0.data() + k * n, work.words.data(), places.data(), n, ps.ntts[k].prime);
            std::memcpy(out, &uniform.value, lattice::seed_bytes);
            pack_residues(out + lattice::seed_bytes, work.c0.data(), ps);
        }
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
        Workspace work(ps);
        for (std::size_t i = first; i < last; ++i) {
            for (std::size_t k = 0; k < ps.primes; ++k) {
                poly.encode(work.c0.data() + k * n, polynomials + i * n, n, ps.q_low, ps.ring_bits, ps.inverse_t[k],
                            ps.ntts[k].prime);
            }
            Prg prg(errors[i]);
            encrypt_zero(work, uniform[i], prg);
            std::uint8_t* const upload = out + i * ps.upload_bytes();
            std::memcpy(upload, &uniform[i].value, lattice::seed_bytes);
            pack_residues(upload + lattice::seed_bytes, work.c0.data(), ps);
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
                u64* const x = c0.data() + k * n;
                for (std::size_t j = 0; j < useful; ++j) x[j] += product[positions[begin + j]];
                poly.scale(x, ps.t[k], (useful + 7) / 8 * 8, ps.ntts[k].prime);  // x < 2p is enough for it
            }
            for (std::size_t j = 0; j < useful; ++j) {
                u64 residues[2] = {};
                for (std::size_t k = 0; k < ps.kept; ++k) {
                    const u64 p = ps.ntts[k].prime.p;
                    const u64 r = c0[k * n + j] + ps.half[k] - p;
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
