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
// LOCAL: products computed together. Their weights are read in longer runs, their accumulators still fit the cache.
constexpr std::size_t together = 4;

std::size_t round_up(std::size_t n) { return (n + 7) / 8 * 8; }

std::size_t reverse_bits(std::size_t x, std::size_t bits) {
    std::size_t reversed = 0;
    for (std::size_t i = 0; i < bits; ++i) reversed = reversed << 1 | (x >> i & 1);
    return reversed;
}

// One place of a response, in the order in which products are merged.
struct Step {
    std::size_t response, product, block;
    bool exists;
};

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
            read_encryption(halves[0].data(), halves[1].data(), message, ps);
            for (std::size_t run = 0; run < ps.primes * ps.degree / width; ++run) {
                u64* const to = data_.data() + (run * blocks_ + received_ + i) * 2 * width;
                std::memcpy(to, halves[0].data() + run * width, width * 8);
                std::memcpy(to + width, halves[1].data() + run * width, width * 8);
            }
        }
    });
    received_ += count;
}

Server::Server(unsigned ring_bits, const std::uint8_t* keys, const std::vector<unsigned>& levels, SeedSource seeds)
    : parameters_(he::parameters(ring_bits)),
      seeds_(std::move(seeds)),
      key_(2 * parameters_->primes * parameters_->degree),
      packing_keys_(parameters_, levels, keys + parameters_->public_key_bytes()) {
    const Parameters& ps = *parameters_;
    AlignedVector<u64> halves[2] = {AlignedVector<u64>(ps.primes * ps.degree),
                                    AlignedVector<u64>(ps.primes * ps.degree)};
    read_encryption(halves[0].data(), halves[1].data(), keys, ps);
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

bool Server::can_pack(const Weights& weights) const {
    for (std::size_t merge = 0; merge < weights.merges(); ++merge) {
        if (!packing_keys_.has(weights.spacing(merge))) return false;
    }
    return true;
}

// What products and responses need between the steps; all of it depends on weights, masks or their randomness.
struct Server::Workspace {
    SecretVector<u64> u, e1;                // [together][primes][N] evaluations
    SecretVector<std::int8_t> small;        // [N]
    SecretVector<u64> words;                // uniform words: [N], or [5][useful] for the flood
    SecretVector<u64> c0, encoded, mask;    // [primes][useful], [useful], [useful], rounded up to 8
    AlignedVector<u64> weights;             // [together][a block's evaluations], where they are not cached
    PackingKeys::Workspace packing;
    std::vector<SecretVector<u64>> buffers;  // of products: those computed together, and those that wait for another
    std::vector<u64*> spare;                 // buffers that hold no product

    Workspace(const Parameters& ps, const Weights& multiplied, std::size_t products)
        : u(together * ps.primes * ps.degree),
          e1(u.size()),
          small(ps.degree),
          words(5 * ps.degree),
          c0(ps.primes * ps.degree),
          encoded(ps.degree),
          mask(ps.degree),
          weights(std::min(together, products) * multiplied.scratch_words()),
          packing(ps),
          buffers(together + multiplied.merges() + 1) {
        for (auto& buffer : buffers) {
            buffer.resize(2 * ps.primes * ps.degree);
            spare.push_back(buffer.data());
        }
    }
    u64* take() {
        u64* const buffer = spare.back();
        spare.pop_back();
        return buffer;
    }
};

// The products of one response after another, merged two by two.
class Server::Merging {
public:
    Merging(Workspace& work, const Weights& weights, const PackingKeys& keys) : work_(work), weights_(weights), keys_(keys) {}

    // The next product; nullptr: it does not exist, nor do those that are merged into it.
    void put(u64* sums) {
        waiting_.push_back({0, sums});
        while (waiting_.size() > 1 && waiting_[waiting_.size() - 2].merges == waiting_.back().merges) {
            const Waiting b = waiting_.back();
            waiting_.pop_back();
            Waiting& a = waiting_.back();
            if (b.sums) {  // where nothing will lie nothing needs to vanish
                keys_.merge(work_.packing, a.sums, b.sums, weights_.spacing(a.merges), weights_.shift(a.merges));
                work_.spare.push_back(b.sums);
            }
            ++a.merges;
        }
    }
    // The response, if that was its last product.
    u64* whole() {
        if (waiting_.back().merges < weights_.merges()) return nullptr;
        u64* const sums = waiting_.back().sums;
        waiting_.pop_back();
        return sums;
    }

private:
    struct Waiting {
        std::size_t merges;  // that it has behind it
        u64* sums;
    };
    Workspace& work_;
    const Weights& weights_;
    const PackingKeys& keys_;
    std::vector<Waiting> waiting_;
};

// u and e1 of an encryption of zero under the public key, (pk0 u, pk1 u + e1). The flood stands for an error of c0.
void Server::draw(Workspace& work, std::size_t slot, const Seed& seed) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    Prg prg(seed);
    prg.fill(work.words.data(), 8 * n);
    poly.ternary(work.small.data(), work.words.data(), n);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        u64* const u = work.u.data() + (slot * ps.primes + k) * n;
        poly.embed(u, work.small.data(), n, ps.ntts[k].prime);
        poly.forward(u, ps.ntts[k]);
    }
    prg.fill(work.words.data(), 8 * n);
    poly.errors(work.small.data(), work.words.data(), n);
    for (std::size_t k = 0; k < ps.primes; ++k) {
        u64* const e1 = work.e1.data() + (slot * ps.primes + k) * n;
        poly.embed(e1, work.small.data(), n, ps.ntts[k].prime);
        poly.forward(e1, ps.ntts[k]);
    }
}

// sums = W x + (pk0 u, pk1 u + e1) in evaluations. Every product is computed, whatever the weights: skipping zeros would tell
// time.
void Server::multiply(Workspace& work, const Weights& weights, const Upload& upload, const Product* products,
                      std::size_t count) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree;
    const u64* evaluations[together];
    for (std::size_t slot = 0; slot < count; ++slot) {
        evaluations[slot] = weights.block(products[slot].block, work.weights.data() + slot * weights.scratch_words());
    }
    for (std::size_t k = 0; k < ps.primes; ++k) {
        for (std::size_t chunk = 0; chunk < weights.chunks(); ++chunk) {
            const u64* const key = key_.data() + (k * weights.chunks() + chunk) * 2 * width;
            for (std::size_t slot = 0; slot < count; ++slot) {
                const std::size_t b = products[slot].block;
                u64* const c0 = products[slot].sums + k * n + chunk * width;
                poly.dot(c0, c0 + ps.primes * n,
                         evaluations[slot] + (k * weights.chunks() + chunk) * weights.inputs(b) * width, width,
                         upload.chunk(k, chunk, weights.first_input(b)), weights.inputs(b),
                         work.u.data() + (slot * ps.primes + k) * n + chunk * width, key, ps.ntts[k].prime);
            }
        }
        for (std::size_t slot = 0; slot < count; ++slot) {
            const u64* const e1 = work.e1.data() + (slot * ps.primes + k) * n;
            poly.add(products[slot].sums + (ps.primes + k) * n, e1, n, ps.ntts[k].prime);
        }
    }
}

// One response of merged products: less masks, flooded, switched down.
void Server::finish(Workspace& work, u64* sums, const Seed& seed, std::uint8_t* out, const std::int32_t* positions,
                    std::size_t useful, const u64* masks) const {
    const Parameters& ps = *parameters_;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = ps.degree, padded = round_up(useful);
    u64 *const c0 = work.c0.data(), *const c1 = sums + ps.primes * n;
    Prg prg(seed);
    // Fewer draws for fewer outputs: the number of outputs is public.
    prg.fill(work.words.data(), 5 * 8 * padded);
    std::memcpy(work.mask.data(), masks, 8 * useful);
    std::fill(work.mask.data() + useful, work.mask.data() + padded, u64{0});
    for (std::size_t k = 0; k < ps.primes; ++k) {
        const ring::Prime& prime = ps.ntts[k].prime;
        poly.inverse(sums + k * n, ps.ntts[k]);
        poly.inverse(c1 + k * n, ps.ntts[k]);
        for (std::size_t i = 0; i < useful; ++i) c0[k * n + i] = sums[k * n + static_cast<std::size_t>(positions[i])];
        std::fill(c0 + k * n + useful, c0 + k * n + padded, u64{0});
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

void Server::respond(std::uint8_t* out, const Weights& weights, const Upload& upload, std::size_t first,
                     std::size_t count, const std::int32_t* positions, const i64* offsets, const u64* masks,
                     unsigned threads) const {
    const Parameters& ps = *parameters_;
    const std::size_t packed = weights.shape().packed, blocks = weights.shape().blocks_out();
    std::vector<std::size_t> starts(count + 1, 0);
    for (std::size_t i = 0; i < count; ++i) {
        starts[i + 1] = starts[i] + ps.response_bytes(static_cast<std::size_t>(offsets[i + 1] - offsets[i]));
    }
    SecretVector<Seed> seeds(count * (packed + 1));  // of each response, of its products
    for (Seed& seed : seeds) seed = seeds_();
    parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
        Workspace work(ps, weights, (end - begin) * packed);
        // Products in the order in which they are merged: those half a response apart first. Some do not exist.
        std::vector<Step> steps;
        for (std::size_t i = begin; i < end; ++i) {
            for (std::size_t turn = 0; turn < packed; ++turn) {
                const std::size_t product = reverse_bits(turn, weights.merges()), block = (first + i) * packed + product;
                steps.push_back({i, product, block, block < blocks});
            }
        }
        Merging merging(work, weights, packing_keys_);
        for (std::size_t step = 0; step < steps.size();) {
            Product products[together];
            std::size_t now = 0, last = step;
            for (; last < steps.size() && (now < together || !steps[last].exists); ++last) {
                if (!steps[last].exists) continue;
                products[now] = {steps[last].block, work.take()};
                const Seed& seed = seeds[steps[last].response * (packed + 1) + steps[last].product];
                draw(work, now, seed);
                ++now;
            }
            multiply(work, weights, upload, products, now);
            for (now = 0; step < last; ++step) {
                merging.put(steps[step].exists ? products[now++].sums : nullptr);
                if (u64* const sums = merging.whole()) {
                    const std::size_t i = steps[step].response, from = static_cast<std::size_t>(offsets[i]);
                    finish(work, sums, seeds[i * (packed + 1) + packed], out + starts[i], positions + from,
                           static_cast<std::size_t>(offsets[i + 1]) - from, masks + from);
                    work.spare.push_back(sums);
                }
            }
        }
    });
}

}  // namespace deepreduce::he
