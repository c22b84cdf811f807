// Leaks that the tool must catch, and arithmetic that it must not.
#include <cstdint>

#include "checks.hpp"
#include "secret.hpp"

#ifdef DEEPREDUCE_X86
#include <immintrin.h>
#endif

namespace deepreduce::constant_time {
namespace {

volatile std::uint32_t sink;

#ifdef DEEPREDUCE_X86
__attribute__((target("avx2"))) std::uint32_t gather(const std::uint32_t* table, const std::uint32_t* index) {
    const __m256i wanted = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
    const __m256i found = _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), wanted, 4);
    return static_cast<std::uint32_t>(_mm256_cvtsi256_si32(found));
}
#endif

std::uint32_t table[8] = {3, 1, 4, 1, 5, 9, 2, 6};

}  // namespace

void planted_branch() {
    std::uint32_t secret = 1;
    poison(&secret, sizeof secret);
    if (secret & 1) sink = 7;
}

void planted_index() {
    std::uint32_t secret = 1;
    poison(&secret, sizeof secret);
    sink = table[secret & 7];
}

void planted_vector_index() {
    std::uint32_t secret[8] = {1, 2, 3, 4, 5, 6, 7, 0};
    poison(secret, sizeof secret);
#ifdef DEEPREDUCE_X86
    if (__builtin_cpu_supports("avx2")) {
        sink = gather(table, secret);
        return;
    }
#endif
    sink = table[secret[0] & 7];
}

void planted_lost_secret() {
    std::uint32_t secret = 1;
    poison(&secret, sizeof secret);
    std::uint32_t copy = secret;
    declassify(&copy, sizeof copy);
    expect_secret(&copy, sizeof copy, "planted_lost_secret");
}

void planted_nothing() {
    std::uint32_t secret = 1;
    poison(&secret, sizeof secret);
    std::uint32_t result = (secret * 5u) ^ (secret << 3);
    expect_secret(&result, sizeof result, "planted_nothing");
}

}  // namespace deepreduce::constant_time
