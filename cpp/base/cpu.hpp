// Which kernels run: chosen once from what the CPU offers, not from what the compiler was told.
#pragma once

#include <string>
#include <vector>

namespace deepreduce::cpu {

// Each path has its own translation units (*_scalar.cpp, *_avx2.cpp, *_avx512.cpp) with the same functions; both parties
// may run different paths: the bytes are the same.
enum class Path {
    scalar,  // any machine; constant-time bitsliced AES
    avx2,    // AVX2, BMI2, AES-NI: the portable baseline of x86
    avx512,  // AVX-512 F/BW/DQ/VL/IFMA/VNNI and VAES
};

// Paths that this machine can run, slowest first.
std::vector<Path> available();

// The path in use: the fastest one, or the one named by DEEPREDUCE_CPU, or the last one given to `select`.
Path current();

// Throws std::invalid_argument where the machine lacks the path.
void select(Path path);

const char* name(Path path);
Path parse(const std::string& name);  // throws std::invalid_argument

}  // namespace deepreduce::cpu
