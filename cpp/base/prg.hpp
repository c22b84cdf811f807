// A stream of pseudo-random bytes from one seed, taken piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/aes.hpp"

namespace deepreduce {

// AES_seed(0, nonce), AES_seed(1, nonce), ... Constant time; the seed is wiped when the stream ends.
class Prg {
public:
    explicit Prg(Seed seed) : seed_(seed) {}
    ~Prg() { wipe(&seed_, sizeof seed_); }
    Prg(const Prg&) = delete;
    Prg& operator=(const Prg&) = delete;

    // The next bytes, to memory aligned to 16. Every call starts a fresh block: what was left of the last one is not
    // used.
    void fill(void* out, std::size_t bytes) {
        const std::size_t whole = bytes / sizeof(Block);
        aes_ctr(seed_, counter_, seed_.nonce, static_cast<Block*>(out), whole);
        counter_ += whole;
        if (const std::size_t rest = bytes % sizeof(Block)) {
            Block block;
            aes_ctr(seed_, counter_++, seed_.nonce, &block, 1);
            std::memcpy(static_cast<Block*>(out) + whole, &block, rest);
            wipe(&block, sizeof block);
        }
    }

private:
    Seed seed_;
    std::uint64_t counter_ = 0;
};

}  // namespace deepreduce
