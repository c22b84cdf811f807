// What the core does differently under the tools. The operating system's randomness is secret: the linker takes this
// definition instead of base/random.cpp's. And what the core declassifies is public from then on.
#include <sys/random.h>

#include "base/declassify.hpp"
#include "base/random.hpp"

#include "secret.hpp"

namespace deepreduce {

void os_random(void* out, std::size_t bytes) {
    for (auto* at = static_cast<unsigned char*>(out); bytes;) {
        const ssize_t done = getrandom(at, bytes, 0);
        if (done <= 0) std::abort();
        constant_time::poison(at, static_cast<std::size_t>(done));
        at += done;
        bytes -= static_cast<std::size_t>(done);
    }
}

void declassify(const void* data, std::size_t bytes) { constant_time::declassify(data, bytes); }

void keep_secret(void* result, const void* operand, std::size_t bytes) {
    if (constant_time::is_secret(operand, bytes)) constant_time::poison(result, bytes);
}

}  // namespace deepreduce
