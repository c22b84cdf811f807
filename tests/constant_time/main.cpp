// constant_time CHECK [PATH]: runs one check on one CPU path; the tool around it ends the run at the first leak.
#include <cstdio>
#include <cstring>

#include "base/cpu.hpp"
#include "checks.hpp"

namespace {

struct Check {
    const char* name;
    void (*run)();
};

using namespace deepreduce::constant_time;

constexpr Check checks[] = {
    {"base", check_base},
    {"gc", check_gc},
    {"he", check_he},
    {"ot", check_ot},
    {"ring", check_ring},
    {"planted_branch", planted_branch},
    {"planted_index", planted_index},
    {"planted_vector_index", planted_vector_index},
    {"planted_lost_secret", planted_lost_secret},
    {"planted_nothing", planted_nothing},
};

}  // namespace

int main(int count, char** arguments) {
    if (count == 2 && std::strcmp(arguments[1], "--list") == 0) {
        for (const Check& check : checks) std::printf("check %s\n", check.name);
        for (auto path : deepreduce::cpu::available()) std::printf("path %s\n", deepreduce::cpu::name(path));
        return 0;
    }
    for (const Check& check : checks) {
        if (count < 2 || std::strcmp(arguments[1], check.name) != 0) continue;
        if (count > 2) deepreduce::cpu::select(deepreduce::cpu::parse(arguments[2]));
        check.run();
        std::printf("%s on %s: clean\n", check.name, deepreduce::cpu::name(deepreduce::cpu::current()));
        return 0;
    }
    std::fprintf(stderr, "usage: constant_time --list | CHECK [PATH]\n");
    return 2;
}
