#include "he/server.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/parallel.hpp"
#include "he/messages.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {
namespace {

constexpr std::size_t width = ring::dot_width;
// LOCAL: responses computed together. Their weights are read in longer runs, their accumulators still fit the cache.
constexpr std::size_t together = 4;

Seed seed_of(const std::uint8_t* message) {
    Seed seed;
    std::memcpy(&seed.value, message, lattice::seed_bytes);
    return seed;
}

std::size_t round_up(std::size_t n) { return (n + 7) / 8 * 8; }

}  // namespace

Upload::Upload(unsigned ring_bits, std::size_t blocks)
    : parameters_(he::parameters(ring_bits)),
      blocks_(blocks),
      data_(parameters_->primes * parameters_->degree * 2 * blocks) {}

void Upload::add(const std::uint8_t* uploads, std::size_t count, unsigned threads) {
    const Parameters& ps = *parameters_;
    if (count > blocks_ - received_) {
        throw std::invalid_argument("upload: " + std::to_string(received_ + count) + " ciphertexts, expected " +
                                    std::to_string(blocks_));
    }
    parallel_for(count, threads, [&](std::size_t first, std::size_t last) {
        AlignedVector<u64> halves[2] = {AlignedVector<u64>(ps.primes * ps.degree),
                                        AlignedVector<u64>(ps.primes * ps.degree)};
        for (std::size_t i = first; i < last; ++i) {
            const std::uint8_t* const message = uploads + i * ps.upload_bytes();
            unpack_residues(halves[0].data(), message + lattice::seed_bytes, ps);
            expand(halves[1].data(), seed_of(message), ps);
            for (std::size_t run = 0; run < ps.primes * ps.degree / width; ++run) {
                u64* const to = data_.data() + (run * blocks_ + received_ + i) * 2 * width;
                std::memcpy(to, halves[0].data() + run * width, width * 8);
                std::memcpy(to + width, halves[1].data() + run * width, width * 8);
            }
        }
    });
    received_ += count;
}

Server::Server(unsigned ring_bits, const std::uint8_t* public_key, SeedSource seeds)
    : parameters_(he::parameters(ring_bits)),
      seeds_(std::move(seeds)),
      key_(2 * parameters_->primes * parameters_->degree) {
    const Parameters& ps = *parameters_;
    AlignedVector<u64> halves[2] = {AlignedVector<u64>(ps.primes * ps.degree),
                                    AlignedVector<u64>(ps.primes * ps.degree)};
    unpack_residues(halves[0].data(), public_key + lattice::seed_bytes, ps);
    expand(halves[1].data(), seed_of(public_key), ps);
    for (int half = 0; half < 2; ++half) {
        for (std::size_t k = 0; k < ps.primes; ++k) {
            const ring::Prime& prime = ps.ntts[k].prime;
            ring::polynomial_kernels().scale(halves[half].data() + k * ps.degree, prime.r, ps.degree, prime);
        }
        for (std::size_t run = 0; run < ps.primes * ps.degree / width; ++run) {
            std::memcpy(key_.data() + (2 * run + half) * width, halves[half].data() + run * width, width * 8);
        }
    }
}

// What `together` responses need between the steps; all of it depends on weights, masks or their randomness.
struct Server::Workspace {
    SecretVector<u64> u;                  // [together][primes][N] evaluations
    SecretVector<u64> sums;               // [together][2][primes][N]: c0 and c1
    SecretVector<std::int8_t> small;      // [together][N]: the error of c1
    SecretVector<u64> words;              // uniform words: [N], or [5][useful] for the flood
    SecretVector<u64> c0, encoded, mask;  // [primes][useful], [useful], [useful], rounded up to 8
    AlignedVector<u64> weights;           // [together][a block's evaluations], where they are not cached
    std::optional<Prg> prg[together];

    explicit Workspace(const Parameters& ps)
        : u(together * ps.primes * ps.degree),
          sums(together * 2 * ps.primes * ps.degree),
          small(together * ps.degree),
          words(5 * ps.degree),
          c0(ps.primes * ps.degree),
          encoded(ps.degree),
          mask(ps.degree) {}
};

// The encryption of zero under the public key, (pk0 u + e0, pk1 u + e1), as far as it does not depend on the product.
void Server::draw(Workspace& work, std::size_t slot, const Seed& seed) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    Prg& prg = work.prg[slot].emplace(seed);
    std::int8_t* const small = work.small.data() + slot * n;
    prg.fill(work.words.data(), 8 * n);
    poly.ternary(small, work.words.data(), n);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        u64* const u = work.u.data() + (slot * ps.primes + k) * n;
        poly.embed(u, small, n, ps.ntts[k].prime);
        poly.forward(u, ps.ntts[k]);
    }
    prg.fill(work.words.data(), 8 * n);
    poly.errors(small, work.words.data(), n);
}

// sums = W x + u pk in evaluations. Every product is computed, whatever the weights: skipping zeros would tell time.
void Server::multiply(Workspace& work, const Weights& weights, const Upload& upload, std::size_t first_block,
                      std::size_t blocks) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree, scratch = weights.scratch_words();
    if (work.weights.size() < scratch * blocks) work.weights.resize(scratch * blocks);
    const u64* evaluations[together];
    for (std::size_t slot = 0; slot < blocks; ++slot) {
        evaluations[slot] = weights.block(first_block + slot, work.weights.data() + slot * scratch);
    }
    for (std::size_t k = 0; k < ps.primes; ++k) {
        for (std::size_t chunk = 0; chunk < weights.chunks(); ++chunk) {
            const u64* const key = key_.data() + (k * weights.chunks() + chunk) * 2 * width;
            for (std::size_t slot = 0; slot < blocks; ++slot) {
                const std::size_t b = first_block + slot;
                u64* const c0 = work.sums.data() + (slot * 2 * ps.primes + k) * n + chunk * width;
                poly.dot(c0, c0 + ps.primes * n, evaluations[slot] + (k * weights.chunks() + chunk) * weights.inputs(b) * width,
                         upload.chunk(k, chunk, weights.first_input(b)), weights.inputs(b),
                         work.u.data() + (slot * ps.primes + k) * n + chunk * width, key, ps.ntts[k].prime);
            }
        }
    }
}

void Server::finish(Workspace& work, std::size_t slot, std::uint8_t* out, const std::int32_t* positions,
                    std::size_t useful, const u64* masks) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree, padded = round_up(useful);
    u64* const sums0 = work.sums.data() + slot * 2 * ps.primes * n;
    u64* const c1 = sums0 + ps.primes * n;
    u64* const c0 = work.c0.data();
    Prg& prg = *work.prg[slot];
    // Fewer draws for fewer outputs: the number of outputs is public.
    std::int8_t* const e1 = work.small.data() + slot * n;
    for (std::size_t k = 0; k < ps.primes; ++k) {
        poly.inverse(sums0 + k * n, ps.ntts[k]);
        poly.inverse(c1 + k * n, ps.ntts[k]);
        poly.add_small(c1 + k * n, e1, n, ps.ntts[k].prime);
        for (std::size_t i = 0; i < useful; ++i) c0[k * n + i] = sums0[k * n + static_cast<std::size_t>(positions[i])];
        std::fill(c0 + k * n + useful, c0 + k * n + padded, u64{0});
    }
    prg.fill(work.words.data(), 8 * padded);
    std::int8_t* const e0 = e1;  // c1 has taken its own
    poly.errors(e0, work.words.data(), padded);
    prg.fill(work.words.data(), 5 * 8 * padded);
    std::memcpy(work.mask.data(), masks, 8 * useful);
    std::fill(work.mask.data() + useful, work.mask.data() + padded, u64{0});
    for (std::size_t k = 0; k < ps.primes; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        poly.add_small(c0 + k * n, e0, padded, prime);
        poly.encode(work.encoded.data(), work.mask.data(), padded, ps.q_low, ps.ring_bits, ps.inverse_t[k], prime);
        poly.subtract(c0 + k * n, work.encoded.data(), padded, prime);
        poly.add_flood(c0 + k * n, work.words.data(), padded, ps.set.flood_bits, ps.flood_center[k], prime);
    }
    const std::size_t last = ps.primes - 1;
    for (std::size_t k = 0; k < ps.kept; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        poly.switch_down(c1 + k * n, c1 + last * n, n, ps.ntts[last].prime.p, ps.inverse_dropped[k], prime);
        poly.switch_down(c0 + k * n, c0 + last * n, padded, ps.ntts[last].prime.p, ps.inverse_dropped[k], prime);
    }
    pack_response(out, c1, c0, useful, n, n, ps);
}

void Server::respond(std::uint8_t* out, const Weights& weights, const Upload& upload, std::size_t first_block,
                     std::size_t blocks, const std::int32_t* positions, const i64* offsets, const u64* masks,
                     unsigned threads) const {
    const Parameters& ps = *parameters_;
    std::vector<std::size_t> starts(blocks + 1, 0);
    for (std::size_t i = 0; i < blocks; ++i) {
        starts[i + 1] = starts[i] + ps.response_bytes(static_cast<std::size_t>(offsets[i + 1] - offsets[i]));
    }
    SecretVector<Seed> seeds(blocks);
    for (Seed& seed : seeds) seed = seeds_();
    parallel_for(blocks, threads, [&](std::size_t first, std::size_t last) {
        Workspace work(ps);
        for (; first < last; first += together) {
            const std::size_t now = std::min(together, last - first);
            for (std::size_t slot = 0; slot < now; ++slot) draw(work, slot, seeds[first + slot]);
            multiply(work, weights, upload, first_block + first, now);
            for (std::size_t slot = 0; slot < now; ++slot) {
                const std::size_t i = first + slot, begin = static_cast<std::size_t>(offsets[i]);
                finish(work, slot, out + starts[i], positions + begin, static_cast<std::size_t>(offsets[i + 1]) - begin,
                       masks + begin);
            }
        }
    });
}

}  // namespace deepreduce::he
