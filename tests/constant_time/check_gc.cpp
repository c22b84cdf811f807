// Garbling: Delta, seeds, labels, shares and masks are secret, and so is every color. The key of the hash is public.
#include <cstdint>
#include <vector>

#include "checks.hpp"
#include "gc/garbled.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

constexpr HashKey key{{11, 12}};
constexpr std::size_t groups = 3;

void whole_circuit(gc::Circuit circuit, unsigned ring_bits, unsigned shift) {
    const gc::CircuitShape shape{circuit, ring_bits, shift, 5, groups, 1};
    const Delta delta(secret<Block>());
    const auto seed = secret<Seed>();
    const auto client_labels = secrets<Block>(shape.client_label_blocks());
    const auto share = secrets<std::uint64_t>(shape.elements());
    std::vector<Block> tables(shape.table_blocks()), server_labels(shape.server_label_blocks());
    std::vector<std::uint16_t> decoding(groups * ring_bits), colors(groups * ring_bits);

    gc::circuit_garble(shape, delta, key, seed, client_labels.data(), tables.data(), decoding.data());
    expect_secrets(tables, "circuit_garble: tables");
    expect_secrets(decoding, "circuit_garble: colors");

    gc::circuit_encode(shape, delta, seed, share.data(), server_labels.data());
    expect_secrets(server_labels, "circuit_encode");

    gc::circuit_evaluate(shape, key, client_labels.data(), server_labels.data(), tables.data(), colors.data());
    expect_secrets(colors, "circuit_evaluate");
}

}  // namespace

void check_gc() {
    for (unsigned ring_bits : {24u, 64u}) {
        for (auto circuit : {gc::Circuit::relu, gc::Circuit::rescale}) {
            for (unsigned shift : {0u, 12u}) whole_circuit(circuit, ring_bits, shift);
        }
    }
}

}  // namespace deepreduce::constant_time
