// OT extension and what is built on it: base pads, choices, Delta, outputs and shares are secret. Corrections, set-up
// messages and the bits that a protocol opens are sent to the other side, but reading them as secrets is the stricter
// check.
#include <cstdint>
#include <span>
#include <vector>

#include "checks.hpp"
#include "ot/kernels.hpp"
#include "ot/comparison.hpp"
#include "ot/product.hpp"
#include "ot/softspoken.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

constexpr HashKey key{{11, 12}};

void extension(unsigned k) {
    const auto pairs = secrets<Block>(2 * ot::base_ots), chosen = secrets<Block>(ot::base_ots);
    std::vector<std::uint8_t> set_up(ot::set_up_bytes);
    ot::Receiver receiver(k, std::span<const Block, 2 * ot::base_ots>(pairs), set_up.data());
    expect_secrets(set_up, "Receiver: set-up");
    ot::Sender sender(k, Delta(secret<Block>()), std::span<const Block, ot::base_ots>(chosen), set_up.data());
    for (std::size_t count : {std::size_t{128}, ot::tile_ots + 384}) {
        const auto choices = secrets<std::uint8_t>(count / 8);
        std::vector<std::uint8_t> correction(ot::correction_bytes(count, k));
        std::vector<Block> received(count), sent(count);
        receiver.extend(count, choices.data(), correction.data(), received.data(), 1);
        expect_secrets(correction, "Receiver::extend: correction");
        expect_secrets(received, "Receiver::extend");
        sender.extend(count, correction.data(), sent.data(), 1);
        expect_secrets(sent, "Sender::extend");
    }
}

void products(unsigned bits) {
    constexpr std::size_t groups = 3, elements = groups * group_size;
    const auto outputs = secrets<Block>(elements);
    const auto values = secrets<std::uint64_t>(elements);
    const auto choices = secrets<std::uint8_t>(elements / 8);
    std::vector<std::uint64_t> message(elements), sent(elements), received(elements);
    ot::product_send(key, 5, groups, bits, Delta(secret<Block>()), outputs.data(), values.data(), message.data(),
                     sent.data(), 1);
    expect_secrets(message, "product_send: message");
    expect_secrets(sent, "product_send: share");
    ot::product_receive(key, 5, groups, bits, outputs.data(), choices.data(), message.data(), received.data(), 1);
    expect_secrets(received, "product_receive");
}

void comparison(unsigned ring_bits, unsigned shift, unsigned width) {
    const std::uint8_t widths[] = {1, 3, 4, 5}, equals[] = {0, 1, 1, 1};
    constexpr std::size_t n = 48;
    const ot::DigitShape shape{widths, equals, 4, n};
    const std::size_t row = shape.row_bytes();
    const auto outputs = secrets<Block>(shape.bits() * n);
    const auto own = secrets<std::uint8_t>(4 * row), choices = secrets<std::uint8_t>(shape.bits() * row);
    const auto numbers = secrets<std::uint64_t>(n);
    const Delta delta(secret<Block>());
    std::vector<std::uint8_t> tables(shape.table_bytes()), read(8 * row), opening(shape.opening_bytes());
    std::vector<std::uint8_t> greater(4 * row), equal(4 * row);
    ot::table_pads_send(key, 3, 2, shape, delta, outputs.data(), own.data(), own.data(), tables.data(), 1);
    expect_secrets(tables, "table_pads_send");
    ot::table_pads_receive(key, 3, 2, shape, outputs.data(), choices.data(), read.data(), 1);
    expect_secrets(read, "table_pads_receive");
    ot::table_open(shape, numbers.data(), choices.data(), opening.data());
    expect_secrets(opening, "table_open");
    ot::table_answer(shape, numbers.data(), opening.data(), tables.data());
    expect_secrets(tables, "table_answer");
    ot::table_read(shape, tables.data(), choices.data(), read.data(), greater.data(), equal.data());
    expect_secrets(greater, "table_read: greater");
    std::vector<std::uint8_t> zero(4 * row), one(4 * row);
    ot::bit_pads_send(key, 9, 2, 2, n, delta, outputs.data(), zero.data(), one.data(), 1);
    expect_secrets(one, "bit_pads_send");
    ot::bit_pads_receive(key, 9, 2, 2, n, outputs.data(), zero.data(), 1);
    expect_secrets(zero, "bit_pads_receive");
    const ot::ElementShape element{ring_bits, shift, width, n};
    std::vector<std::uint64_t> pads(n << element.selectors()), elements(pads.size()), chosen(n), out(n);
    ot::select_pads_send(key, 15, 2, element.selectors(), n, delta, outputs.data(), pads.data(), 1);
    expect_secrets(pads, "select_pads_send");
    ot::select_pads_receive(key, 15, 2, element.selectors(), n, outputs.data(), chosen.data(), 1);
    expect_secrets(chosen, "select_pads_receive");
    ot::elements_mask(element, numbers.data(), own.data(), own.data(), own.data(), own.data(), own.data(), numbers.data(),
                      numbers.data(), pads.data(), elements.data());
    expect_secrets(elements, "elements_mask");
    ot::elements_open(element, numbers.data(), own.data(), own.data(), own.data(), numbers.data(), numbers.data(),
                      chosen.data(), elements.data(), out.data());
    expect_secrets(out, "elements_open");
}

}  // namespace

void check_ot() {
    for (unsigned k : {1u, 2u, 4u}) extension(k);
    for (unsigned bits : {1u, 32u, 64u}) products(bits);
    comparison(41, 9, 23);
    comparison(64, 0, 64);
    comparison(32, 12, 0);
}

}  // namespace deepreduce::constant_time
