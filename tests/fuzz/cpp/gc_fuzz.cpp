// A garbler's tables and labels at the evaluator, and an evaluator's labels at the garbler.
#include "gc/garbled.hpp"
#include "input.hpp"

using namespace deepreduce;
using std::uint64_t;

namespace {

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
    circuit(input);
    return 0;
}
