// Random bytes: seeds from the operating system, expanded by AES-128 in counter mode.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace deepreduce {

using Seed = std::array<std::uint8_t, 16>;

// Fills from getrandom(2); throws std::system_error where the system has no randomness to give.
void os_random(void* out, std::size_t bytes);
Seed os_seed();

// The stream AES(seed, 0), AES(seed, 1), ... (128-bit little-endian counters), the same bytes on every CPU path. Constant
// time on every path: AES instructions where the CPU has them, a bitsliced circuit where not. Wiped when it ends.
class Prg {
public:
    explicit Prg(const Seed& seed);
    ~Prg();
    Prg(const Prg&) = delete;
    Prg& operator=(const Prg&) = delete;

    // The next bytes of the stream. Every call starts a fresh block: what is left of the last one is not used.
    void fill(void* out, std::size_t bytes);

private:
    std::array<std::uint8_t, 11 * 16> round_keys_;
    std::uint64_t counter_ = 0;
};

namespace aes {

using RoundKeys = std::array<std::uint8_t, 11 * 16>;

// One implementation per CPU path: the key schedule, and `blocks` counter blocks from `counter` on.
struct Kernels {
    void (*expand_key)(std::uint8_t* round_keys, const std::uint8_t* key);
    void (*counter_blocks)(std::uint8_t* out, const std::uint8_t* round_keys, std::uint64_t counter, std::size_t blocks);
};
const Kernels& scalar_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& kernels();  // of cpu::current()

}  // namespace aes
}  // namespace deepreduce
