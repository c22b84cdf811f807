// An input as what the bindings hand to the core: numbers in the ranges that bind/ checks, and messages of the length that
// it checks. A message is a plain beginning with runs of bytes written over it, so that inputs stay small.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "base/aligned.hpp"
#include "base/cpu.hpp"
#include "base/prg.hpp"
#include "he/parameters.hpp"

namespace deepreduce::fuzz {

[[noreturn]] inline void broken(const char* promise) {
    std::fprintf(stderr, "broken: %s\n", promise);
    std::abort();
}

inline void expect(bool kept, const char* promise) {
    if (!kept) broken(promise);
}

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

    std::uint8_t byte() {
        if (!left_) return 0;
        --left_;
        return *data_++;
    }
    // least <= number <= most < least + 256
    unsigned number(unsigned least, unsigned most) { return least + byte() % (most - least + 1); }

    // Fills exactly `bytes` bytes: 0, 255, or a stream; then up to 15 runs.
    void message(void* to, std::size_t bytes) {
        auto* out = static_cast<std::uint8_t*>(to);
        if (!bytes) return;
        const std::uint8_t kind = byte();
        if (kind % 4 < 2) {
            std::memset(out, kind % 4 ? 0xff : 0, bytes);
        } else {
            Prg(Seed{{kind, 0}}).fill(out, bytes);
        }
        for (unsigned runs = byte() % 16; runs; --runs) {
            const std::size_t place = byte() | std::size_t{byte()} << 8 | std::size_t{byte()} << 16, length = byte();
            for (std::size_t i = 0; i < length; ++i) {
                const std::uint8_t value = byte();
                out[(place + i) % bytes] = value;
            }
        }
    }
    std::vector<std::uint8_t> bytes(std::size_t count) {
        std::vector<std::uint8_t> out(count);
        message(out.data(), count);
        return out;
    }
    AlignedVector<Block> blocks(std::size_t count) {
        AlignedVector<Block> out(count);
        message(out.data(), count * sizeof(Block));
        return out;
    }
    // Elements modulo 2^bits, as `unpack` gives them.
    AlignedVector<std::uint64_t> elements(std::size_t count, unsigned bits) {
        AlignedVector<std::uint64_t> out(count);
        message(out.data(), count * 8);
        for (auto& value : out) value &= ~std::uint64_t{0} >> (64 - bits);
        return out;
    }

private:
    const std::uint8_t* data_;
    std::size_t left_;
};

// compute() on every path of this machine; all answers must be equal. An answer is compared with ==.
template <class Compute>
auto on_every_path(Compute compute) {
    std::optional<decltype(compute())> first;
    for (const cpu::Path path : cpu::available()) {
        cpu::select(path);
        auto found = compute();
        if (first) expect(*first == found, "every CPU path computes the same");
        else first = std::move(found);
    }
    return *first;
}

// Seeds that count up: the answers of two paths can be compared.
inline he::SeedSource counted_seeds() {
    return [next = std::uint64_t{0}]() mutable { return Seed{{++next, 1}}; };
}

}  // namespace deepreduce::fuzz
