// Garbling and evaluation: the whole circuit.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstring>
#include <tuple>

#include "base/dispatch.hpp"
#include "bind/register.hpp"
#include "gc/garbled.hpp"
#include "ring/element.hpp"

namespace deepreduce::bind {

using nb::literals::operator""_a;
using Bytes = In<std::uint8_t>;
using Words = In<std::uint64_t>;
using Bits = In<std::uint16_t>;

namespace {

Seed seed_of(const Bytes& bytes) {
    expect_size(bytes, 24, "seed");
    Seed seed;
    std::memcpy(&seed.value, bytes.data(), 16);
    std::memcpy(&seed.nonce, bytes.data() + 16, 8);
    return seed;
}

std::size_t groups_of(std::size_t elements) {
    if (elements % group_size) {
        throw std::invalid_argument("vectors are padded to a multiple of 16 elements, not " + std::to_string(elements));
    }
    return elements / group_size;
}

void check_width(unsigned width, unsigned ring_bits) {
    if (ring_bits < 2 || ring_bits > 64) {
        throw std::invalid_argument("ring bits must be 2..64, not " + std::to_string(ring_bits));
    }
    if (width < 1 || width > ring_bits) {
        throw std::invalid_argument("width must be 1..ring bits, not " + std::to_string(width));
    }
}

gc::CircuitShape circuit_shape(const std::string& name, unsigned ring_bits, unsigned shift, std::uint64_t first_group,
                               std::size_t elements, unsigned threads) {
    check_width(1, ring_bits);
    if (name != "relu" && name != "rescale") throw std::invalid_argument("unknown circuit '" + name + "': relu or rescale");
    if (shift > ring_bits - 2) throw std::invalid_argument("shift must be 0..ring bits - 2, not " + std::to_string(shift));
    return {name == "relu" ? gc::Circuit::relu : gc::Circuit::rescale, ring_bits, shift, first_group, groups_of(elements), threads};
}

void register_bits(nb::module_& m) {
    m.def(
        "shift_shares",
        [](const Words& shares, unsigned ring_bits, unsigned shift, unsigned width) {
            check_width(width, ring_bits);
            if (shift > ring_bits - width) throw std::invalid_argument("shift + width must be at most the ring bits");
            auto out = make<std::uint64_t>({shares.size()});
            nb::gil_scoped_release release;
            for (std::size_t i = 0; i < shares.size(); ++i) {
                out.data()[i] = ring::shift_share(shares.data()[i], ring_bits, shift, width);
            }
            return out;
        },
        "shares"_a, "ring_bits"_a, "shift"_a, "width"_a,
        "uint64: signed_width(share mod 2^l >> shift), sign-extended.");
    m.def(
        "bit_slice",
        [](const Words& values, unsigned width) {
            check_width(width, 64);
            const std::size_t groups = groups_of(values.size());
            auto out = make<std::uint16_t>({groups, width});
            nb::gil_scoped_release release;
            DEEPREDUCE_PICK(gc).slice(groups, width, values.data(), out.data());
            return out;
        },
        "values"_a, "width"_a, "uint16 [groups, width]: bit i of word j is bit j of value i of the group.");
    m.def(
        "bit_unslice",
        [](const Bits& bits, unsigned width) {
            check_width(width, 64);
            if (bits.size() % width) throw std::invalid_argument("bits must be a multiple of the width");
            const std::size_t groups = bits.size() / width;
            auto out = make<std::uint64_t>({groups * group_size});
            nb::gil_scoped_release release;
            DEEPREDUCE_PICK(gc).unslice(groups, width, bits.data(), out.data());
            return out;
        },
        "bits"_a, "width"_a, "The inverse of bit_slice: uint64 [16 groups].");
}

void register_circuit(nb::module_& m) {
    m.def(
        "circuit_garble",
        [](const std::string& circuit, unsigned ring_bits, unsigned shift, const Delta& delta, const Bytes& key, const Bytes& seed,
           std::uint64_t first_group, const Bytes& client_zero, Out<std::uint8_t> tables, unsigned threads) {
            check_width(1, ring_bits);
            const auto shape = circuit_shape(circuit, ring_bits, shift, first_group, client_zero.size() / 16 / (2 * ring_bits), threads);
            expect_size(client_zero, shape.client_label_blocks() * 16, "client_zero");
            expect_size(tables, shape.table_blocks() * 16, "tables");
            const HashKey hash_key{block_of(key, "key")};
            const Seed own = seed_of(seed);
            auto colors = make<std::uint16_t>({shape.groups, ring_bits});
            nb::gil_scoped_release release;
            gc::circuit_garble(shape, delta, hash_key, own, blocks_of(client_zero), blocks_of(tables), colors.data());
            return colors;
        },
        "circuit"_a, "ring_bits"_a, "shift"_a, "delta"_a, "key"_a, "seed"_a, "first_group"_a, "client_zero"_a, "tables"_a,
        "threads"_a = 1, "Server, offline: writes the tables; returns the colors uint16 [g, l] that decode the output.");
    m.def(
        "circuit_encode",
        [](unsigned ring_bits, const Delta& delta, const Bytes& seed, std::uint64_t first_group, const Words& b,
           Out<std::uint8_t> labels, unsigned threads) {
            const auto shape = circuit_shape("relu", ring_bits, 0, first_group, b.size(), threads);
            expect_size(labels, shape.server_label_blocks() * 16, "labels");
            const Seed own = seed_of(seed);
            nb::gil_scoped_release release;
            gc::circuit_encode(shape, delta, own, b.data(), blocks_of(labels));
        },
        "ring_bits"_a, "delta"_a, "seed"_a, "first_group"_a, "b"_a, "labels"_a, "threads"_a = 1,
        "Server, online: writes the labels of its shares.");
    m.def(
        "circuit_evaluate",
        [](const std::string& circuit, unsigned ring_bits, unsigned shift, const Bytes& key, std::uint64_t first_group,
           const Bytes& client_labels, const Bytes& server_labels, const Bytes& tables, unsigned threads) {
            check_width(1, ring_bits);
            const auto shape = circuit_shape(circuit, ring_bits, shift, first_group, server_labels.size() / 16 / ring_bits, threads);
            expect_size(server_labels, shape.server_label_blocks() * 16, "server_labels");
            expect_size(client_labels, shape.client_label_blocks() * 16, "client_labels");
            expect_size(tables, shape.table_blocks() * 16, "tables");
            const HashKey hash_key{block_of(key, "key")};
            auto colors = make<std::uint16_t>({shape.groups, ring_bits});
            nb::gil_scoped_release release;
            gc::circuit_evaluate(shape, hash_key, blocks_of(client_labels), blocks_of(server_labels), blocks_of(tables), colors.data());
            return colors;
        },
        "circuit"_a, "ring_bits"_a, "shift"_a, "key"_a, "first_group"_a, "client_labels"_a, "server_labels"_a, "tables"_a,
        "threads"_a = 1, "Client, online: the colors uint16 [g, l] that it returns.");
}

}  // namespace

void register_gc(nb::module_& m) {
    register_bits(m);
    register_circuit(m);
}

}  // namespace deepreduce::bind
