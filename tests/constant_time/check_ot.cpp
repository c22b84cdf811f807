// OT extension and what is built on it: base pads, choices, Delta, outputs and shares are secret. Corrections, set-up
// messages and the bits that a protocol opens are sent to the other side, but reading them as secrets is the stricter
// check.
#include <cstdint>
#include <span>
#include <vector>

#include "checks.hpp"
#include "ot/kernels.hpp"
#include "ot/product.hpp"
#include "ot/rescale.hpp"
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

void rescale(unsigned bits, unsigned shift) {
    const ot::RescaleShape shape{bits, shift, 50};
    const auto shares = secrets<std::uint64_t>(shape.elements), mask = secrets<std::uint64_t>(shape.elements);
    const auto c = secrets<std::uint8_t>((shape.elements + 7) / 8);
    std::vector<std::uint64_t> a(shape.elements), negative(shape.elements), answer(shape.elements), out(shape.elements);
    std::vector<std::uint8_t> d(c.size());
    ot::rescale_client_shares(shape, shares.data(), a.data(), negative.data());
    expect_secrets(a, "rescale_client_shares");
    expect_secrets(negative, "rescale_client_shares: signs");
    ot::rescale_open(shape, shares.data(), c.data(), d.data());
    expect_secrets(d, "rescale_open");
    ot::rescale_answer(shape, a.data(), shares.data(), d.data(), mask.data(), answer.data());
    expect_secrets(answer, "rescale_answer");
    ot::rescale_close(shape, shares.data(), shares.data(), d.data(), answer.data(), out.data());
    expect_secrets(out, "rescale_close");
}

}  // namespace

void check_ot() {
    for (unsigned k : {1u, 2u, 4u}) extension(k);
    for (unsigned bits : {1u, 32u, 64u}) products(bits);
    rescale(32, 12);
    rescale(64, 1);
}

}  // namespace deepreduce::constant_time
