// 128-bit blocks, and the types that keep a secret from being mistaken for something public.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace deepreduce {

struct alignas(16) Block {
    std::uint64_t lo;
    std::uint64_t hi;

    friend Block operator^(Block a, Block b) { return {a.lo ^ b.lo, a.hi ^ b.hi}; }
    friend bool operator==(const Block&, const Block&) = default;
};
static_assert(sizeof(Block) == 16);

// Instances that are garbled, evaluated or hashed in lockstep; vectors of instances are padded to a multiple (AGREEMENT).
inline constexpr std::size_t group_size = 16;

// Overwrites memory that held a secret; the compiler may not drop it.
static inline void wipe(void* data, std::size_t bytes) {
    std::memset(data, 0, bytes);
    __asm__ __volatile__("" : : "r"(data) : "memory");
}

// The global offset of free XOR and the choice of the OT sender: a label of 1 is the label of 0 plus Delta. Its last bit is
// 1, so that the last bits of the two labels of a wire differ (point and permute).
struct Delta {
    Block value;

    explicit Delta(Block random) : value{random.lo | 1, random.hi} {}
    ~Delta() { wipe(&value, sizeof value); }
    Delta(const Delta&) = default;
    Delta& operator=(const Delta&) = default;
};

// A key of a pseudo-random generator; whoever knows it knows the stream. The nonce, which need not be secret, is the high
// word of every counter, so that whoever searches for keys cannot test a guess against all streams at once.
struct Seed {
    Block value;
    std::uint64_t nonce = 0;
};

// The public key that re-keys the garbling hash for one vector (gc/hash.ipp). Not a secret, but never used twice.
struct HashKey {
    Block value;
};

}  // namespace deepreduce
