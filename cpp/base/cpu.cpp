#include "base/cpu.hpp"

#ifdef DEEPREDUCE_X86
#include <cpuid.h>
#endif

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace deepreduce::cpu {
namespace {

#ifdef DEEPREDUCE_X86
// By hand: clang before version 19 does not know the name "vaes".
bool has_vaes() {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx >> 9 & 1);
}
#endif

bool has(Path path) {
    switch (path) {
        case Path::scalar:
            return true;
#ifdef DEEPREDUCE_X86
        case Path::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("aes");
        case Path::avx512:
            return has(Path::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vnni") &&
                   has_vaes();
#endif
        default:
            return false;
    }
}

Path initial() {
    if (const char* wanted = std::getenv("DEEPREDUCE_CPU"); wanted && *wanted) {
        const Path path = parse(wanted);
        if (!has(path)) throw std::invalid_argument(std::string("DEEPREDUCE_CPU=") + wanted + ": this CPU lacks it");
        return path;
    }
    return available().back();
}

std::atomic<int> chosen{-1};

}  // namespace

std::vector<Path> available() {
    std::vector<Path> paths;
    for (Path path : {Path::scalar, Path::avx2, Path::avx512}) {
        if (has(path)) paths.push_back(path);
    }
    return paths;
}

Path current() {
    int path = chosen.load(std::memory_order_relaxed);
    if (path < 0) {
        path = static_cast<int>(initial());
        chosen.store(path, std::memory_order_relaxed);
    }
    return static_cast<Path>(path);
}

void select(Path path) {
    if (!has(path)) throw std::invalid_argument(std::string("this CPU cannot run the path '") + name(path) + "'");
    chosen.store(static_cast<int>(path), std::memory_order_relaxed);
}

const char* name(Path path) {
    switch (path) {
        case Path::avx2: return "avx2";
        case Path::avx512: return "avx512";
        default: return "scalar";
    }
}

Path parse(const std::string& wanted) {
    for (Path path : {Path::scalar, Path::avx2, Path::avx512}) {
        if (wanted == name(path)) return path;
    }
    throw std::invalid_argument("unknown CPU path '" + wanted + "': scalar, avx2 or avx512");
}

}  // namespace deepreduce::cpu
