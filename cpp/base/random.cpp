#include "base/random.hpp"

#include <sys/random.h>

#include <cerrno>
#include <stdexcept>

namespace deepreduce {

void os_random(void* out, std::size_t bytes) {
    auto* at = static_cast<unsigned char*>(out);
    while (bytes) {
        const ssize_t got = getrandom(at, bytes, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            throw std::runtime_error("the operating system gives no randomness (getrandom)");
        }
        at += got;
        bytes -= static_cast<std::size_t>(got);
    }
}

}  // namespace deepreduce
