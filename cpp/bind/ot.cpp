// OT extension and products.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <tuple>

#include "base/random.hpp"
#include "bind/register.hpp"
#include "ot/product.hpp"
#include "ot/softspoken.hpp"

namespace deepreduce::bind {

using nb::literals::operator""_a;
using Bytes = In<std::uint8_t>;
using Words = In<std::uint64_t>;

namespace {

constexpr std::size_t most_ots = std::size_t{1} << 32;  // of one call

void check_ots(std::size_t count) {
    if (count % 128 || count > most_ots) {
        throw std::invalid_argument("OTs come in blocks of 128 up to 2^32, not " + std::to_string(count));
    }
}

std::vector<Block> copied_blocks(const Bytes& bytes, std::size_t count, const char* what) {
    expect_size(bytes, count * sizeof(Block), what);
    std::vector<Block> out(count);
    std::memcpy(static_cast<void*>(out.data()), bytes.data(), count * sizeof(Block));
    return out;
}

// The extension's receiver and its set-up message.
struct PyReceiver {
    PyReceiver(unsigned k, const Bytes& pads) : set_up(make<std::uint8_t>({ot::set_up_bytes})) {
        auto keys = copied_blocks(pads, 2 * ot::base_ots, "pads");
        receiver = std::make_unique<ot::Receiver>(k, std::span<const Block, 2 * ot::base_ots>(keys), set_up.data());
        wipe(keys.data(), keys.size() * sizeof(Block));
    }
    Result<std::uint8_t> set_up;
    std::unique_ptr<ot::Receiver> receiver;
};

void register_extension(nb::module_& m) {
    nb::class_<Delta>(m, "Delta", "The offset of free XOR and choice of an OT sender (secret).")
        .def_static("random", [] { return Delta(random_block()); }, "From the operating system.")
        .def("bits", [](const Delta& delta) {
            auto out = make<std::uint8_t>({ot::base_ots});
            for (std::size_t i = 0; i < ot::base_ots; ++i) {
                out.data()[i] = ((i < 64 ? delta.value.lo : delta.value.hi) >> (i % 64)) & 1;
            }
            return out;
        }, "uint8 [128]: the choice bits of the base OTs (secret).")
        .def("to_bytes", [](const Delta& delta) {
            auto out = make<std::uint8_t>({sizeof(Block)});
            std::memcpy(out.data(), &delta.value, sizeof(Block));
            return out;
        }, "uint8 [16] (secret): for a store of finished material, and nothing else.")
        .def_static("from_bytes", [](const Bytes& bytes) {
            const Delta delta(block_of(bytes, "delta"));
            if (!(bytes.data()[0] & 1)) throw std::invalid_argument("the last bit of a Delta is 1");
            return delta;
        }, "delta"_a, "The inverse of to_bytes.");

    nb::class_<PyReceiver>(m, "OtReceiver", "Receiver of the OT extension; made from both keys of 128 base OTs.")
        .def(nb::init<unsigned, const Bytes&>(), "k"_a, "pads"_a)
        .def_prop_ro("set_up", [](const PyReceiver& self) { return self.set_up; }, nb::rv_policy::copy,
                     "uint8: the message for the sender.")
        .def(
            "extend",
            [](PyReceiver& self, const Bytes& choices, Out<std::uint8_t> out, unsigned threads) {
                const std::size_t count = choices.size() * 8;
                check_ots(count);
                expect_size(out, count * 16, "out");
                auto correction = make<std::uint8_t>({ot::correction_bytes(count, self.receiver->k())});
                nb::gil_scoped_release release;
                self.receiver->extend(count, choices.data(), correction.data(), blocks_of(out), threads);
                return correction;
            },
            "choices"_a, "out"_a, "threads"_a = 1,
            "choices uint8 [n/8], one bit per OT; writes t_i = q_i ^ c_i Delta to out uint8 [16 n]; returns the correction for the sender.");

    nb::class_<ot::Sender>(m, "OtSender", "Sender of the OT extension; made from the key that each bit of Delta chose.")
        .def("__init__",
             [](ot::Sender* self, unsigned k, const Delta& delta, const Bytes& pads, const Bytes& set_up) {
                 auto keys = copied_blocks(pads, ot::base_ots, "pads");
                 expect_size(set_up, ot::set_up_bytes, "set_up");
                 new (self) ot::Sender(k, delta, std::span<const Block, ot::base_ots>(keys), set_up.data());
                 wipe(keys.data(), keys.size() * sizeof(Block));
             },
             "k"_a, "delta"_a, "pads"_a, "set_up"_a)
        .def_prop_ro("delta", [](const ot::Sender& self) { return Delta(self.delta()); })
        .def(
            "extend",
            [](ot::Sender& self, std::size_t count, const Bytes& correction, unsigned threads) {
                check_ots(count);
                expect_size(correction, ot::correction_bytes(count, self.k()), "correction");
                auto out = make<std::uint8_t>({count, 16});
                nb::gil_scoped_release release;
                self.extend(count, correction.data(), blocks_of(out), threads);
                return out;
            },
            "count"_a, "correction"_a, "threads"_a = 1, "uint8 [count, 16]: q_i.");
}

void check_ring(unsigned bits) {
    if (bits < 1 || bits > 64) throw std::invalid_argument("ring bits must be 1..64, not " + std::to_string(bits));
}

void check_groups(std::size_t elements) {
    if (elements % group_size) {
        throw std::invalid_argument("vectors are padded to a multiple of 16 elements, not " + std::to_string(elements));
    }
}

void register_product(nb::module_& m) {
    m.def(
        "product_send",
        [](const Bytes& key, std::uint64_t first_group, unsigned bits, const Delta& delta, const Bytes& q, const Words& values,
           unsigned threads) {
            check_ring(bits);
            check_groups(values.size());
            expect_size(q, values.size() * 16, "q");
            const HashKey hash_key{block_of(key, "key")};
            auto message = make<std::uint64_t>({values.size()}), share = make<std::uint64_t>({values.size()});
            {
                nb::gil_scoped_release release;
                ot::product_send(hash_key, first_group, values.size() / group_size, bits, delta, blocks_of(q), values.data(),
                                 message.data(), share.data(), threads);
            }
            return std::make_tuple(message, share);
        },
        "key"_a, "first_group"_a, "bits"_a, "delta"_a, "q"_a, "values"_a, "threads"_a = 1,
        "(message, share) uint64: shares of choice * value mod 2^bits, the owner of the values' side.");
    m.def(
        "product_receive",
        [](const Bytes& key, std::uint64_t first_group, unsigned bits, const Bytes& t, const Bytes& choices, const Words& message,
           unsigned threads) {
            check_ring(bits);
            check_groups(message.size());
            expect_size(t, message.size() * 16, "t");
            expect_size(choices, message.size() / 8, "choices");
            const HashKey hash_key{block_of(key, "key")};
            auto share = make<std::uint64_t>({message.size()});
            nb::gil_scoped_release release;
            ot::product_receive(hash_key, first_group, message.size() / group_size, bits, blocks_of(t), choices.data(),
                                message.data(), share.data(), threads);
            return share;
        },
        "key"_a, "first_group"_a, "bits"_a, "t"_a, "choices"_a, "message"_a, "threads"_a = 1,
        "uint64: shares of choice * value mod 2^bits, the owner of the choice bits' side.");
}

}  // namespace

void register_ot(nb::module_& m) {
    register_extension(m);
    register_product(m);
}

}  // namespace deepreduce::bind
