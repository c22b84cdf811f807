// The server of the homomorphic phase: it holds the weights and the masks, and answers with flooded ciphertexts.
//
// Threads: `Upload::add` is for one thread at a time and not while the same upload is being answered; a Server, its
// Weights and an Upload that is complete may be used by several threads at once.
#pragma once

#include <atomic>

#include "base/secret_vector.hpp"
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
    // Throws std::invalid_argument at a damaged key. The length is the caller's to check (public_key_bytes).
    Server(unsigned ring_bits, const std::uint8_t* public_key, SeedSource seeds = os_seed);

    const Parameters& parameters() const { return *parameters_; }

    // Responses first_block to first_block + blocks - 1, one after the other. Response i sends the coefficients
    // positions [offsets[i], offsets[i + 1]), strictly increasing and outputs of its block, less masks (same order,
    // modulo 2^l). Each is re-randomized and flooded anew. Constant time in weights and masks.
    void respond(std::uint8_t* out, const Weights& weights, const Upload& upload, std::size_t first_block,
                 std::size_t blocks, const std::int32_t* positions, const i64* offsets, const u64* masks,
                 unsigned threads) const;

private:
    struct Workspace;
    void draw(Workspace& work, std::size_t slot, const Seed& seed) const;
    void multiply(Workspace& work, const Weights& weights, const Upload& upload, std::size_t first_block,
                  std::size_t blocks) const;
    void finish(Workspace& work, std::size_t slot, std::uint8_t* out, const std::int32_t* positions, std::size_t useful,
                const u64* masks) const;

    std::shared_ptr<const Parameters> parameters_;
    SeedSource seeds_;
    AlignedVector<u64> key_;  // [primes][chunks][2][32] evaluations times 2^52
};

}  // namespace deepreduce::he
