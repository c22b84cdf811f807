// Marks memory as secret for the tool that watches: any branch and any address that depends on it ends the run.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define DEEPREDUCE_MEMORY_SANITIZER 1
#endif
#endif

#ifdef DEEPREDUCE_MEMORY_SANITIZER
#include <sanitizer/msan_interface.h>
#else
#include <valgrind/memcheck.h>
#endif

namespace deepreduce::constant_time {

// From now on `data` is secret, to the last bit.
inline void poison(const void* data, std::size_t bytes) {
#ifdef DEEPREDUCE_MEMORY_SANITIZER
    __msan_allocated_memory(data, bytes);
#else
    VALGRIND_MAKE_MEM_UNDEFINED(data, bytes);
#endif
}

// From now on `data` is public: what a protocol sends in the clear.
inline void declassify(const void* data, std::size_t bytes) {
#ifdef DEEPREDUCE_MEMORY_SANITIZER
    __msan_unpoison(data, bytes);
#else
    VALGRIND_MAKE_MEM_DEFINED(data, bytes);
#endif
}

inline bool is_secret(const void* data, std::size_t bytes) {
#ifdef DEEPREDUCE_MEMORY_SANITIZER
    return __msan_test_shadow(data, bytes) != -1;
#else
    for (std::size_t i = 0; i < bytes; ++i) {
        unsigned char bits = 0;
        (void)VALGRIND_GET_VBITS(static_cast<const char*>(data) + i, &bits, 1);
        if (bits) return true;
    }
    return false;
#endif
}

// Ends the run where every byte that a kernel computed from secrets passes for public: the tool lost track of the
// secrets (inline assembly, an instruction that it does not know) and its silence would say nothing.
inline void expect_secret(const void* data, std::size_t bytes, const char* what) {
    if (is_secret(data, bytes)) return;
    std::fprintf(stderr, "%s: the tool lost track of the secret\n", what);
    std::exit(3);
}

template <class T>
std::vector<T> secrets(std::size_t count) {
    std::vector<T> values(count);
    poison(values.data(), count * sizeof(T));
    return values;
}

template <class T>
T secret() {
    T value{};
    poison(&value, sizeof value);
    return value;
}

// Every element, not only one of them.
template <class T>
void expect_secrets(const std::vector<T>& values, const char* what) {
    for (const T& value : values) expect_secret(&value, sizeof value, what);
}

}  // namespace deepreduce::constant_time
