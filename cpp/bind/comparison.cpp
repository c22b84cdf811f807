// Comparisons by tables of transfers.
#include "ot/comparison.hpp"

#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>
#include <vector>

#include "bind/register.hpp"
#include "ring/element.hpp"

namespace deepreduce::bind {

using nb::literals::operator""_a;
using Bytes = In<std::uint8_t>;
using Words = In<std::uint64_t>;

namespace {

void check_elements(std::size_t elements) {
    if (elements % group_size || elements > std::size_t{1} << 32) {
        throw std::invalid_argument("vectors have a multiple of 16 elements up to 2^32, not " + std::to_string(elements));
    }
}

// The digits of a comparison: their widths, and whether equality is needed.
struct PyDigits {
    PyDigits(std::vector<std::uint8_t> widths, std::vector<std::uint8_t> equals)
        : widths(std::move(widths)), equals(std::move(equals)) {
        unsigned total = 0;
        for (const auto width : this->widths) {
            if (width < 1 || width > ot::widest_digit) {
                throw std::invalid_argument("digits have 1 to 5 bits, not " + std::to_string(width));
            }
            total += width;
        }
        for (const auto equal : this->equals) {
            if (equal > 1) throw std::invalid_argument("equals are 0 or 1");
        }
        if (this->widths.size() != this->equals.size() || total > 64) {
            throw std::invalid_argument("digits and equals must match, with 64 bits at most");
        }
    }
    ot::DigitShape shape(std::size_t elements) const {
        check_elements(elements);
        return {widths.data(), equals.data(), widths.size(), elements};
    }
    std::vector<std::uint8_t> widths, equals;
};

ot::ElementShape element_shape(unsigned ring_bits, unsigned shift, unsigned width, std::size_t elements) {
    check_elements(elements);
    if (ring_bits < 2 || ring_bits > 64 || shift >= ring_bits || width < 1 || width > ring_bits - shift) {
        throw std::invalid_argument("ring bits must be 2..64, width positive, shift + width at most as many");
    }
    return {ring_bits, shift, width, elements};
}

void register_tables(nb::module_& m) {
    nb::class_<PyDigits>(m, "Digits", "Digits of a comparison, the least significant first: bits of each, and whether equality is needed.")
        .def(nb::init<std::vector<std::uint8_t>, std::vector<std::uint8_t>>(), "widths"_a, "equals"_a)
        .def("table_bytes", [](const PyDigits& self, std::size_t elements) { return self.shape(elements).table_bytes(); }, "elements"_a)
        .def("opening_bytes", [](const PyDigits& self, std::size_t elements) { return self.shape(elements).opening_bytes(); }, "elements"_a);
    m.def(
        "table_pads_send",
        [](const Bytes& key, std::uint64_t first_row, std::uint64_t first_group, const PyDigits& digits, const Delta& delta,
           const Bytes& q, const Bytes& greater, const Bytes& equal, std::size_t elements, unsigned threads) {
            const auto shape = digits.shape(elements);
            expect_size(q, shape.bits() * elements * 16, "q");
            expect_size(greater, shape.digits * shape.row_bytes(), "greater");
            expect_size(equal, shape.digits * shape.row_bytes(), "equal");
            const HashKey hash_key{block_of(key, "key")};
            auto pads = make<std::uint8_t>({shape.table_bytes()});
            nb::gil_scoped_release release;
            ot::table_pads_send(hash_key, first_row, first_group, shape, delta, blocks_of(q), greater.data(), equal.data(),
                                pads.data(), threads);
            return pads;
        },
        "key"_a, "first_row"_a, "first_group"_a, "digits"_a, "delta"_a, "q"_a, "greater"_a, "equal"_a, "elements"_a,
        "threads"_a = 1, "uint8: pads of all entries plus the client's shares, in the layout of the tables.");
    m.def(
        "table_pads_receive",
        [](const Bytes& key, std::uint64_t first_row, std::uint64_t first_group, const PyDigits& digits, const Bytes& t,
           const Bytes& choices, std::size_t elements, unsigned threads) {
            const auto shape = digits.shape(elements);
            expect_size(t, shape.bits() * elements * 16, "t");
            expect_size(choices, shape.bits() * shape.row_bytes(), "choices");
            const HashKey hash_key{block_of(key, "key")};
            auto pads = make<std::uint8_t>({2 * shape.digits * shape.row_bytes()});
            nb::gil_scoped_release release;
            ot::table_pads_receive(hash_key, first_row, first_group, shape, blocks_of(t), choices.data(), pads.data(), threads);
            return pads;
        },
        "key"_a, "first_row"_a, "first_group"_a, "digits"_a, "t"_a, "choices"_a, "elements"_a, "threads"_a = 1,
        "uint8: pads of the entries that were chosen, a row for greater and one for equal of each digit.");
    m.def(
        "table_open",
        [](const PyDigits& digits, const Words& numbers, const Bytes& choices) {
            const auto shape = digits.shape(numbers.size());
            expect_size(choices, shape.bits() * shape.row_bytes(), "choices");
            auto opening = make<std::uint8_t>({shape.opening_bytes()});
            nb::gil_scoped_release release;
            ot::table_open(shape, numbers.data(), choices.data(), opening.data());
            return opening;
        },
        "digits"_a, "numbers"_a, "choices"_a, "uint8: digits of the server's numbers less its choices.");
    m.def(
        "table_answer",
        [](const PyDigits& digits, const Words& numbers, const Bytes& opening, Out<std::uint8_t> pads) {
            const auto shape = digits.shape(numbers.size());
            expect_size(opening, shape.opening_bytes(), "opening");
            expect_size(pads, shape.table_bytes(), "pads");
            nb::gil_scoped_release release;
            ot::table_answer(shape, numbers.data(), opening.data(), pads.data());
        },
        "digits"_a, "numbers"_a, "opening"_a, "pads"_a, "Turns the pads into the client's message.");
    m.def(
        "table_read",
        [](const PyDigits& digits, const Bytes& tables, const Bytes& choices, const Bytes& pads, std::size_t elements) {
            const auto shape = digits.shape(elements);
            expect_size(tables, shape.table_bytes(), "tables");
            expect_size(choices, shape.bits() * shape.row_bytes(), "choices");
            expect_size(pads, 2 * shape.digits * shape.row_bytes(), "pads");
            auto greater = make<std::uint8_t>({shape.digits, shape.row_bytes()});
            auto equal = make<std::uint8_t>({shape.digits, shape.row_bytes()});
            {
                nb::gil_scoped_release release;
                ot::table_read(shape, tables.data(), choices.data(), pads.data(), greater.data(), equal.data());
            }
            return std::make_tuple(greater, equal);
        },
        "digits"_a, "tables"_a, "choices"_a, "pads"_a, "elements"_a,
        "(greater, equal) uint8 [digits, elements / 8]: the server's shares.");
}

void register_pads(nb::module_& m) {
    m.def(
        "bit_pads_send",
        [](const Bytes& key, std::uint64_t first_row, std::uint64_t first_group, const Delta& delta, const Bytes& q,
           std::size_t elements, unsigned threads) {
            check_elements(elements);
            const std::size_t rows = elements ? q.size() / 16 / elements : 0;
            expect_size(q, rows * elements * 16, "q");
            const HashKey hash_key{block_of(key, "key")};
            auto zero = make<std::uint8_t>({rows, 2, elements / 8}), one = make<std::uint8_t>({rows, 2, elements / 8});
            {
                nb::gil_scoped_release release;
                ot::bit_pads_send(hash_key, first_row, first_group, rows, elements, delta, blocks_of(q), zero.data(), one.data(),
                                  threads);
            }
            return std::make_tuple(zero, one);
        },
        "key"_a, "first_row"_a, "first_group"_a, "delta"_a, "q"_a, "elements"_a, "threads"_a = 1,
        "(zero, one) uint8 [rows, 2, elements / 8]: two random bits for either choice of each transfer.");
    m.def(
        "bit_pads_receive",
        [](const Bytes& key, std::uint64_t first_row, std::uint64_t first_group, const Bytes& t, std::size_t elements,
           unsigned threads) {
            check_elements(elements);
            const std::size_t rows = elements ? t.size() / 16 / elements : 0;
            expect_size(t, rows * elements * 16, "t");
            const HashKey hash_key{block_of(key, "key")};
            auto chosen = make<std::uint8_t>({rows, 2, elements / 8});
            nb::gil_scoped_release release;
            ot::bit_pads_receive(hash_key, first_row, first_group, rows, elements, blocks_of(t), chosen.data(), threads);
            return chosen;
        },
        "key"_a, "first_row"_a, "first_group"_a, "t"_a, "elements"_a, "threads"_a = 1, "uint8 [rows, 2, elements / 8]: the bits chosen.");
    const auto check_selectors = [](unsigned selectors) {
        if (selectors < 1 || selectors > ot::most_selectors) {
            throw std::invalid_argument("selectors must be 1..3, not " + std::to_string(selectors));
        }
    };
    m.def(
        "select_pads_send",
        [check_selectors](const Bytes& key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, const Delta& delta,
                          const Bytes& q, std::size_t elements, unsigned threads) {
            check_elements(elements);
            check_selectors(selectors);
            expect_size(q, selectors * elements * 16, "q");
            const HashKey hash_key{block_of(key, "key")};
            auto pads = make<std::uint64_t>({std::size_t{1} << selectors, elements});
            nb::gil_scoped_release release;
            ot::select_pads_send(hash_key, row, first_group, selectors, elements, delta, blocks_of(q), pads.data(), threads);
            return pads;
        },
        "key"_a, "row"_a, "first_group"_a, "selectors"_a, "delta"_a, "q"_a, "elements"_a, "threads"_a = 1,
        "uint64 [2^selectors, elements]: a random word for each combination of choices.");
    m.def(
        "select_pads_receive",
        [check_selectors](const Bytes& key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, const Bytes& t,
                          std::size_t elements, unsigned threads) {
            check_elements(elements);
            check_selectors(selectors);
            expect_size(t, selectors * elements * 16, "t");
            const HashKey hash_key{block_of(key, "key")};
            auto pads = make<std::uint64_t>({elements});
            nb::gil_scoped_release release;
            ot::select_pads_receive(hash_key, row, first_group, selectors, elements, blocks_of(t), pads.data(), threads);
            return pads;
        },
        "key"_a, "row"_a, "first_group"_a, "selectors"_a, "t"_a, "elements"_a, "threads"_a = 1, "uint64 [elements]: the words chosen.");
}

void register_elements(nb::module_& m) {
    m.def(
        "elements_mask",
        [](unsigned ring_bits, unsigned shift, unsigned width, const Words& b, const Bytes& sign, const Bytes& carry,
           const Bytes& moved_sign, const Bytes& moved_carry, const Bytes& masked_sign, const Words& u, const Words& rho,
           const Words& pads) {
            const auto shape = element_shape(ring_bits, shift, width, b.size());
            const std::size_t row = b.size() / 8;
            expect_size(sign, row, "sign");
            expect_size(moved_sign, row, "moved_sign");
            if (shape.carries()) {
                expect_size(carry, row, "carry");
                expect_size(moved_carry, row, "moved_carry");
            }
            expect_size(masked_sign, row, "masked_sign");
            expect_size(u, b.size(), "u");
            expect_size(rho, b.size(), "rho");
            expect_size(pads, b.size() << shape.selectors(), "pads");
            auto out = make<std::uint64_t>({pads.size()});
            nb::gil_scoped_release release;
            ot::elements_mask(shape, b.data(), sign.data(), carry.data(), moved_sign.data(), moved_carry.data(), masked_sign.data(),
                              u.data(), rho.data(), pads.data(), out.data());
            return out;
        },
        "ring_bits"_a, "shift"_a, "width"_a, "b"_a, "sign"_a, "carry"_a, "moved_sign"_a, "moved_carry"_a, "masked_sign"_a, "u"_a,
        "rho"_a, "pads"_a, "uint64 [2^selectors elements]: the server's masked elements.");
    m.def(
        "elements_open",
        [](unsigned ring_bits, unsigned shift, unsigned width, const Words& a, const Bytes& sign, const Bytes& masked_sign,
           const Bytes& chosen, const Words& w, const Words& mask, const Words& pad, const Words& elements) {
            const auto shape = element_shape(ring_bits, shift, width, a.size());
            const std::size_t row = a.size() / 8;
            expect_size(sign, row, "sign");
            expect_size(masked_sign, row, "masked_sign");
            expect_size(w, a.size(), "w");
            expect_size(chosen, shape.selectors() * row, "chosen");
            expect_size(mask, a.size(), "mask");
            expect_size(pad, a.size(), "pad");
            expect_size(elements, a.size() << shape.selectors(), "elements");
            auto out = make<std::uint64_t>({a.size()});
            nb::gil_scoped_release release;
            ot::elements_open(shape, a.data(), sign.data(), masked_sign.data(), chosen.data(), w.data(), mask.data(), pad.data(),
                              elements.data(), out.data());
            return out;
        },
        "ring_bits"_a, "shift"_a, "width"_a, "a"_a, "sign"_a, "masked_sign"_a, "chosen"_a, "w"_a, "mask"_a, "pad"_a, "elements"_a,
        "uint64 [elements]: what the client returns.");
}

}  // namespace

void register_comparison(nb::module_& m) {
    m.attr("ROW_SHIFT") = ot::row_shift;
    register_tables(m);
    register_pads(m);
    register_elements(m);
}

}  // namespace deepreduce::bind
