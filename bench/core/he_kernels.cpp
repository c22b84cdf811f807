// Times of the kernels under the homomorphic phase, microseconds per call, best of nine rounds, one thread, each CPU
// path.
//
//     cmake -S . -B build/cpp -DCMAKE_BUILD_TYPE=Release && cmake --build build/cpp --target he_kernels &&
//     build/cpp/he_kernels
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/cpu.hpp"
#include "base/prg.hpp"
#include "he/client.hpp"
#include "he/messages.hpp"
#include "he/packing.hpp"
#include "ring/polynomials.hpp"

namespace {

using namespace deepreduce;
using ring::u64;

template <class Work>
void time(const char* what, Work work) {
    constexpr int repeats = 100;
    double best = 1e30;
    for (int round = 0; round < 9; ++round) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < repeats; ++i) work();
        const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
        best = std::min(best, took.count() / repeats);
    }
    std::printf("  %-44s %8.2f us\n", what, best);
}

void run() {
    const auto parameters = he::parameters(32);
    const auto& ntt = parameters->ntts[0];
    const ring::Prime& prime = ntt.prime;
    const auto& poly = ring::polynomial_kernels();
    const std::size_t n = parameters->degree;
    AlignedVector<u64> x(2 * n), y(2 * n), words(5 * n);
    AlignedVector<std::int8_t> small(n);
    std::vector<std::uint8_t> message(parameters->upload_bytes());
    he::expand(x.data(), Seed{{1, 2}}, *parameters);
    he::expand(y.data(), Seed{{3, 4}}, *parameters);
    Prg prg(Seed{{5, 6}});

    time("forward transform, N = 4096", [&] { poly.forward(x.data(), ntt); });
    time("inverse transform", [&] { poly.inverse(x.data(), ntt); });
    time("32 KiB of the generator", [&] { prg.fill(words.data(), 8 * n); });
    time("4096 errors", [&] { poly.errors(small.data(), words.data(), n); });
    time("4096 ternary secrets", [&] { poly.ternary(small.data(), words.data(), n); });
    time("flood of 4096 coefficients, one prime",
         [&] { poly.add_flood(x.data(), words.data(), n, 64, parameters->flood_center[0], prime); });
    time("encode 4096 values, one prime",
         [&] { poly.encode(x.data(), words.data(), n, parameters->q_low, 32, parameters->inverse_t[0], prime); });
    time("switch 4096 coefficients down",
         [&] { poly.switch_down(x.data(), y.data(), n, lattice::primes[1], parameters->inverse_dropped[0], prime); });
    time("expand a seed, two primes", [&] { he::expand(x.data(), Seed{{1, 2}}, *parameters); });
    time("pack 8192 residues", [&] { he::pack_residues(message.data(), x.data(), *parameters); });
    time("unpack 8192 residues", [&] { he::unpack_residues(x.data(), message.data(), *parameters); });
    // 22 products and the encryption of zero at 32 points; a product of two halves and two primes has 256 such runs.
    AlignedVector<u64> w(22 * 32, 5), uploads(22 * 64, 7), key(64, 9), sums(64);
    const he::Client client(32);
    const std::vector<unsigned> levels = {0};
    std::vector<std::uint8_t> keys(levels.size() * parameters->packing_key_bytes());
    client.packing_keys(keys.data(), levels);
    const he::PackingKeys packing(parameters, levels, keys.data());
    he::PackingKeys::Workspace merging(*parameters);
    AlignedVector<u64> first(4 * n), second(4 * n), shift(2 * n);
    he::expand(first.data(), Seed{{1, 2}}, *parameters);
    he::expand(first.data() + 2 * n, Seed{{1, 3}}, *parameters);
    he::expand(second.data(), Seed{{1, 4}}, *parameters);
    he::expand(second.data() + 2 * n, Seed{{1, 5}}, *parameters);
    he::expand(shift.data(), Seed{{1, 6}}, *parameters);
    const auto places = he::automorphism(0, *parameters);
    time("permute and add 4096 residues", [&] { poly.add_permuted(x.data(), y.data(), places.data(), n, prime); });
    time("halves of 4096 residues", [&] { poly.halves(x.data(), first.data(), y.data(), shift.data(), n, prime); });
    time("merge two ciphertexts", [&] { packing.merge(merging, first.data(), second.data(), 1, shift.data()); });
    constexpr std::size_t runs = 2 * 4096 / ring::dot_width;
    time("22 + 1 products of whole ciphertexts, in cache", [&] {
        for (std::size_t i = 0; i < runs; ++i) {
            poly.dot(sums.data(), sums.data() + 32, w.data(), 32, uploads.data(), 22, w.data(), key.data(), prime);
        }
    });
}

}  // namespace

int main() {
    for (auto path : cpu::available()) {
        cpu::select(path);
        std::printf("%s\n", cpu::name(path));
        run();
    }
}
