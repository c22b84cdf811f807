#include "base/aes.hpp"

#include "base/dispatch.hpp"

namespace deepreduce {

void aes_ctr(Seed seed, std::uint64_t first, std::uint64_t high, Block* out, std::size_t count) {
    DEEPREDUCE_PICK(aes).ctr(seed.value, first, high, out, count);
}

Block aes_chains(Block key, std::size_t calls) { return DEEPREDUCE_PICK(aes).chains(key, calls); }

}  // namespace deepreduce
