// The three messages of the homomorphic phase: what is accepted is in range, and is written as it was read.
#include "he/messages.hpp"

#include <stdexcept>

#include "input.hpp"

using namespace deepreduce;
using he::u64;

namespace {

void residues(fuzz::Input& input, const he::Parameters& ps) {
    const auto message = input.bytes(ps.polynomial_bytes());
    const auto values = fuzz::on_every_path([&] {
        AlignedVector<u64> out(ps.primes * ps.degree);
        try {
            he::unpack_residues(out.data(), message.data(), ps);
        } catch (const std::invalid_argument&) {
            out.clear();
        }
        return out;
    });
    if (values.empty()) return;
    for (std::size_t k = 0; k < ps.primes; ++k) {
        for (std::size_t i = 0; i < ps.degree; ++i)
            fuzz::expect(values[k * ps.degree + i] < lattice::primes[k], "a residue is below its prime");
    }
    std::vector<std::uint8_t> again(message.size());
    he::pack_residues(again.data(), values.data(), ps);
    fuzz::expect(again == message, "residues are written as they were read");
}

void response(fuzz::Input& input, const he::Parameters& ps) {
    const std::size_t useful = (std::size_t{input.byte()} << 8 | input.byte()) % (ps.degree + 1), n = ps.degree;
    const auto message = input.bytes(ps.response_bytes(useful));
    const auto values = fuzz::on_every_path([&] {
        AlignedVector<u64> out(2 * ps.kept * n);  // c1, then c0
        try {
            he::unpack_response(out.data(), out.data() + ps.kept * n, message.data(), useful, n, n, ps);
        } catch (const std::invalid_argument&) {
            out.clear();
        }
        return out;
    });
    if (values.empty()) return;
    bool wraps = false;  // the middle of the topmost step may lie beyond the modulus, and is read as what is left
    for (std::size_t part = 0; part < 2; ++part) {
        for (std::size_t i = 0; i < (part ? useful : n); ++i) {
            const u64* const x = values.data() + part * ps.kept * n + i;
            for (std::size_t k = 0; k < ps.kept; ++k)
                fuzz::expect(x[k * n] < lattice::primes[k], "a coefficient is below its prime");
            const auto value = ps.kept > 1 ? ps.combine(x[0], x[n]) : he::u128{x[0]};
            wraps |= value < he::u128{1} << ((part ? ps.c0_dropped : ps.c1_dropped) - 1);
        }
    }
    std::vector<std::uint8_t> again(message.size());
    he::pack_response(again.data(), values.data(), values.data() + ps.kept * n, useful, n, n, ps);
    fuzz::expect(wraps || again == message, "a response is written as it was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const auto ps = he::parameters(input.number(2, 64));
    if (input.byte() % 2) residues(input, *ps);
    else response(input, *ps);
    return 0;
}
