// The operating system's randomness, as secrets: the linker takes this definition instead of base/random.cpp's.
#include "base/random.hpp"

#include <sys/random.h>

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

}  // namespace deepreduce
