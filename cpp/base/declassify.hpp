// What the tools that watch secrets (tests/constant_time) cannot know: where a secret becomes public by design, and
// where they would lose one. Costs nothing elsewhere.
#pragma once

#include <cstddef>

namespace deepreduce {

#ifdef DEEPREDUCE_CONSTANT_TIME
// tests/constant_time/hooks.cpp
void declassify(const void* data, std::size_t bytes);
// The result is as secret as the operand: MemorySanitizer takes the upper half of a product to be public.
void keep_secret(void* result, const void* operand, std::size_t bytes);
#else
inline void declassify(const void*, std::size_t) {}
inline void keep_secret(void*, const void*, std::size_t) {}
#endif

}  // namespace deepreduce
