// A garbler's tables, labels and elements at the evaluator, and an evaluator's labels at the garbler.
#include "gc/fused.hpp"
#include "gc/garbled.hpp"
#include "input.hpp"

using namespace deepreduce;
using std::uint64_t;

namespace {

void sign(fuzz::Input& input) {
    const unsigned bits = input.number(2, 64), width = input.number(1, 64) % bits + 1;
    const gc::SignShape shape{bits, width, input.byte(), input.number(0, 5), input.number(1, 2)};
    const HashKey key{input.blocks(1)[0]};
    const auto labels = input.blocks(shape.label_blocks()), tables = input.blocks(shape.table_blocks());
    const auto elements = input.elements(4 * shape.elements(), bits), own = input.elements(shape.elements(), bits);
    const auto answer = fuzz::on_every_path([&] {
        AlignedVector<uint64_t> out(shape.elements());
        gc::sign_evaluate(shape, key, labels.data(), labels.data(), tables.data(), elements.data(), own.data(), own.data(),
                          own.data(), out.data());
        return out;
    });
    for (const uint64_t value : answer) fuzz::expect(value <= ~uint64_t{0} >> (64 - bits), "an answer is in the ring");
    fuzz::on_every_path([&] {
        AlignedVector<Block> out(shape.table_blocks());
        AlignedVector<uint64_t> pads(4 * shape.elements());
        std::vector<std::uint16_t> lambda(shape.groups), color(shape.groups);
        gc::sign_garble(shape, Delta(Block{6, 7}), key, Seed{{8, 9}}, labels.data(), out.data(), pads.data(), lambda.data(),
                        color.data());
        return out;
    });
}

void circuit(fuzz::Input& input) {
    const unsigned bits = input.number(2, 64), shift = input.number(0, 62) % (bits - 1);
    const gc::CircuitShape shape{input.byte() % 2 ? gc::Circuit::relu : gc::Circuit::rescale, bits, shift, input.byte(),
                                 input.number(0, 3), input.number(1, 2)};
    const HashKey key{input.blocks(1)[0]};
    const auto mine = input.blocks(shape.client_label_blocks()), theirs = input.blocks(shape.server_label_blocks());
    const auto tables = input.blocks(shape.table_blocks());
    fuzz::on_every_path([&] {
        std::vector<std::uint16_t> colors(shape.groups * bits);
        gc::circuit_evaluate(shape, key, mine.data(), theirs.data(), tables.data(), colors.data());
        return colors;
    });
    fuzz::on_every_path([&] {
        AlignedVector<Block> out(shape.table_blocks());
        std::vector<std::uint16_t> colors(shape.groups * bits);
        gc::circuit_garble(shape, Delta(Block{6, 7}), key, Seed{{8, 9}}, mine.data(), out.data(), colors.data());
        return out;
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    if (input.byte() % 2) sign(input);
    else circuit(input);
    return 0;
}
