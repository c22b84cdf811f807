// Every input below the folders that are named, through the target that its own folder is named after: what the tests
// run without clang.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#define TARGET(name) extern "C" int fuzz_##name(const std::uint8_t*, std::size_t);
#include "targets.inc"
#undef TARGET

int main(int count, char** folders) {
    std::size_t inputs = 0;
    const auto replay = [&](const char* name, int (*target)(const std::uint8_t*, std::size_t)) {
        for (int folder = 1; folder < count; ++folder) {
            const auto corpus = std::filesystem::path(folders[folder]) / name;
            if (!std::filesystem::exists(corpus)) continue;
            for (const auto& file : std::filesystem::directory_iterator(corpus)) {
                std::ifstream in(file.path(), std::ios::binary);
                const std::vector<std::uint8_t> content{std::istreambuf_iterator<char>(in), {}};
                std::printf("%s\n", file.path().c_str());
                std::fflush(stdout);
                target(content.data(), content.size());
                ++inputs;
            }
        }
    };
#define TARGET(name) replay(#name, fuzz_##name);
#include "targets.inc"
#undef TARGET
    return inputs ? 0 : 1;
}
