// The server of the homomorphic phase: it holds the weights and the masks, and answers with flooded ciphertexts.
//
// Threads: `Upload::add` is for one thread at a time and not while the same upload is being answered; a Server, its
// Weights and an Upload that is complete may be used by several threads at once.
#pragma once

#include <atomic>

#include "base/secret_vector.hpp"
#include "he/packing.hpp"
#include "he/parameters.hpp"
#include "he/weights.hpp"

namespace deepreduce::he {

// The uploads of one tile, filled as frames arrive: evaluations [primes][chunks][blocks][2][32], ready to be
// multiplied.
class Upload {
public:
    Upload(unsigned ring_bits, std::size_t blocks);

    // Uploads `received()` to `received() + count - 1`, each of upload_bytes. Throws std::invalid_argument at a damaged
    // one.
    void add(const std::uint8_t* uploads, std::size_t count, unsigned threads);

    const Parameters& parameters() const { return *parameters_; }
    std::size_t blocks() const { return blocks_; }
    std::size_t received() const { return received_; }
    const u64* chunk(std::size_t prime, std::size_t chunk, std::size_t block) const {
        return data_.data() + ((prime * parameters_->degree / 32 + chunk) * blocks_ + block) * 64;
    }

private:
    std::shared_ptr<const Parameters> parameters_;
    std::size_t blocks_, received_ = 0;
    AlignedVector<u64> data_;
};

class Server {
public:
    // `keys`: the public key, then packing keys of these levels. Throws std::invalid_argument at a damaged key. Lengths
    // are the caller's to check (public_key_bytes, packing_key_bytes).
    Server(unsigned ring_bits, const std::uint8_t* keys, const std::vector<unsigned>& levels = {},
           SeedSource seeds = os_seed);

    const Parameters& parameters() const { return *parameters_; }
    // Whether all keys are there that packing these products needs.
    bool can_pack(const Weights& weights) const;

    // Responses first to first + count - 1, one after the other. Response i sends the coefficients positions
    // [offsets[i], offsets[i + 1]), strictly increasing and outputs of it, less masks (same order, modulo 2^l). Each
    // product is re-randomized and each response flooded anew. Constant time in weights and masks.
    void respond(std::uint8_t* out, const Weights& weights, const Upload& upload, std::size_t first, std::size_t count,
                 const std::int32_t* positions, const i64* offsets, const u64* masks, unsigned threads) const;

private:
    // One product on its way into a response.
    struct Product {
        std::size_t block;
        u64* sums;  // [2][primes][N]: c0 and c1, evaluations
    };
    struct Workspace;
    class Merging;
    void draw(Workspace& work, std::size_t slot, const Seed& seed) const;
    void multiply(Workspace& work, const Weights& weights, const Upload& upload, const Product* products,
                  std::size_t count) const;
    void finish(Workspace& work, u64* sums, const Seed& seed, std::uint8_t* out, const std::int32_t* positions,
                std::size_t useful, const u64* masks) const;

    std::shared_ptr<const Parameters> parameters_;
    SeedSource seeds_;
    AlignedVector<u64> key_;  // [primes][chunks][2][32] evaluations times 2^52
    PackingKeys packing_keys_;
};

}  // namespace deepreduce::he
