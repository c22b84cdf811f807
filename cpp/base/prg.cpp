#include "base/prg.hpp"

#include <cerrno>
#include <cstring>
#include <sys/random.h>
#include <system_error>

#include "base/cpu.hpp"
#include "base/secret.hpp"

namespace deepreduce {

void os_random(void* out, std::size_t bytes) {
    auto* p = static_cast<std::uint8_t*>(out);
    while (bytes) {
        const ssize_t got = getrandom(p, bytes, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            throw std::system_error(errno, std::generic_category(), "getrandom");
        }
        p += got;
        bytes -= static_cast<std::size_t>(got);
    }
}

Seed os_seed() {
    Seed seed;
    os_random(seed.data(), seed.size());
    return seed;
}

Prg::Prg(const Seed& seed) { aes::kernels().expand_key(round_keys_.data(), seed.data()); }

Prg::~Prg() { wipe(round_keys_.data(), round_keys_.size()); }

void Prg::fill(void* out, std::size_t bytes) {
    const auto& aes = aes::kernels();
    auto* p = static_cast<std::uint8_t*>(out);
    const std::size_t whole = bytes / 16;
    aes.counter_blocks(p, round_keys_.data(), counter_, whole);
    counter_ += whole;
    if (const std::size_t rest = bytes % 16) {
        std::uint8_t block[16];
        aes.counter_blocks(block, round_keys_.data(), counter_++, 1);
        std::memcpy(p + 16 * whole, block, rest);
        wipe(block, sizeof block);
    }
}

namespace aes {

const Kernels& kernels() {
#ifdef DEEPREDUCE_X86
    switch (cpu::current()) {
        case cpu::Path::avx512: return avx512_kernels();
        case cpu::Path::avx2: return avx2_kernels();
        default: break;
    }
#endif
    return scalar_kernels();
}

}  // namespace aes
}  // namespace deepreduce
