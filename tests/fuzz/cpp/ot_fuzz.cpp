// A receiver's set-up and corrections at the sender of the OT extension, and the messages of products and comparisons.
#include "input.hpp"
#include "ot/comparison.hpp"
#include "ot/product.hpp"
#include "ot/softspoken.hpp"

using namespace deepreduce;
using std::uint64_t;

namespace {

// Openings and tables of the peer, which may be any bytes, and elements; the client's answer goes to `out`.
void compare(unsigned shift, unsigned bits, std::size_t count, const std::vector<std::uint8_t>& peer,
             const std::vector<std::uint8_t>& rows, const AlignedVector<uint64_t>& numbers, uint64_t* out) {
    const std::uint8_t width[] = {static_cast<std::uint8_t>(shift % 5 + 1)}, equal[] = {1};
    const ot::DigitShape digit{width, equal, 1, count};
    const auto bytes = [&](std::size_t size) {
        std::vector<std::uint8_t> found(size);
        for (std::size_t i = 0; i < size && !peer.empty(); ++i) found[i] = peer[i % peer.size()];
        return found;
    };
    auto tables = bytes(digit.table_bytes());
    std::vector<std::uint8_t> choices(digit.bits() * count / 8), greater(count / 8), equals(count / 8);
    ot::table_answer(digit, numbers.data(), bytes(digit.opening_bytes()).data(), tables.data());
    ot::table_read(digit, tables.data(), choices.data(), bytes(count / 4).data(), greater.data(), equals.data());
    const ot::ElementShape shape{bits, shift, bits - shift, count};
    const auto chosen = bytes(shape.selectors() * count / 8);
    AlignedVector<uint64_t> elements(count << shape.selectors(), 7);
    ot::elements_open(shape, numbers.data(), rows.data(), rows.data(), chosen.data(), numbers.data(), numbers.data(),
                      numbers.data(), elements.data(), out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const unsigned k = 1u << input.number(0, 2), bits = input.number(3, 64), shift = input.number(1, 62) % (bits - 2) + 1;
    const unsigned threads = input.number(1, 2);
    const std::size_t count = input.number(0, 9) * 128, groups = count / group_size;
    const auto pads = input.blocks(ot::base_ots);
    const auto set_up = input.bytes(ot::set_up_bytes), correction = input.bytes(ot::correction_bytes(count, k));
    const HashKey key{input.blocks(1)[0]};
    const uint64_t first = input.byte();
    const auto choices = input.bytes(count / 8);
    const auto message = input.elements(count, bits);
    fuzz::on_every_path([&] {
        ot::Sender sender(k, Delta(Block{6, 7}), std::span<const Block, ot::base_ots>(pads.data(), ot::base_ots), set_up.data());
        AlignedVector<Block> out(count);
        sender.extend(count, correction.data(), out.data(), threads);
        AlignedVector<uint64_t> found(4 * count);
        uint64_t* const share = found.data();
        ot::product_receive(key, first, groups, bits, out.data(), choices.data(), message.data(), share, threads);
        ot::product_send(key, first, groups, bits, sender.delta(), out.data(), message.data(), share + count, share + 2 * count,
                         threads);
        for (std::size_t i = 0; i < 3 * count; ++i)
            fuzz::expect(share[i] <= ~uint64_t{0} >> (64 - bits), "a share is in the ring");
        compare(shift, bits, count, correction, choices, message, share + 3 * count);
        return found;
    });
    return 0;
}
