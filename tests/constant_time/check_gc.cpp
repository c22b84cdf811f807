// Garbling: Delta, seeds, labels, shares and masks are secret, and so is every color. The key of the hash is public.
#include <cstdint>
#include <vector>

#include "checks.hpp"
#include "gc/fused.hpp"
#include "gc/garbled.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

constexpr HashKey key{{11, 12}};
constexpr std::size_t groups = 3;

void fused(unsigned ring_bits, unsigned width) {
    const gc::SignShape shape{ring_bits, width, 5, groups, 1};
    const Delta delta(secret<Block>());
    const auto seed = secret<Seed>();
    const auto labels = secrets<Block>(shape.label_blocks());
    const auto share = secrets<std::uint64_t>(shape.elements()), mask = secrets<std::uint64_t>(shape.elements());
    std::vector<Block> tables(shape.table_blocks()), server_labels(shape.label_blocks());
    std::vector<std::uint64_t> pads(4 * shape.elements()), elements(4 * shape.elements()), out(shape.elements());
    std::vector<std::uint16_t> lambda(groups), color(groups);

    gc::sign_garble(shape, delta, key, seed, labels.data(), tables.data(), pads.data(), lambda.data(), color.data());
    expect_secrets(tables, "sign_garble: tables");
    expect_secrets(pads, "sign_garble: pads");
    expect_secrets(lambda, "sign_garble: lambda");
    expect_secrets(color, "sign_garble: colors");

    gc::sign_respond(shape, delta, seed, share.data(), pads.data(), lambda.data(), color.data(), share.data(),
                     mask.data(), server_labels.data(), elements.data());
    expect_secrets(server_labels, "sign_respond: labels");
    expect_secrets(elements, "sign_respond: elements");

    gc::sign_evaluate(shape, key, labels.data(), server_labels.data(), tables.data(), elements.data(), share.data(),
                      share.data(), mask.data(), out.data());
    expect_secrets(out, "sign_evaluate");
}

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
        for (unsigned width : {1u, 2u, 13u, ring_bits}) fused(ring_bits, width);
        for (auto circuit : {gc::Circuit::relu, gc::Circuit::rescale}) {
            for (unsigned shift : {0u, 12u}) whole_circuit(circuit, ring_bits, shift);
        }
    }
}

}  // namespace deepreduce::constant_time
