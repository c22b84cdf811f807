// Digests of every message that OT and garbling send, with INSECURE fixed seeds: a change of one is a change of protocol
// (and needs a new version in the hello), however small it looks. The same on every CPU path and number of threads.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/aes.hpp"
#include "base/cpu.hpp"
#include "base/dispatch.hpp"
#include "gc/garbled.hpp"
#include "ot/kernels.hpp"
#include "ot/product.hpp"
#include "ot/comparison.hpp"
#include "ring/bits.hpp"

namespace {

using namespace deepreduce;

int failures = 0;

std::uint64_t digest(const void* data, std::size_t bytes) {
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (std::size_t i = 0; i < bytes; ++i) hash = (hash ^ static_cast<const std::uint8_t*>(data)[i]) * 0x100000001b3;
    return hash;
}

template <class T>
void expect(const std::vector<T>& message, std::uint64_t expected, const char* what, const char* path) {
    const std::uint64_t found = digest(message.data(), message.size() * sizeof(T));
    if (found != expected) {
        std::printf("FAILED: %s [%s]: 0x%016llx\n", what, path, static_cast<unsigned long long>(found));
        ++failures;
    }
}

std::vector<Block> blocks(std::size_t count, std::uint64_t domain) {
    std::vector<Block> out(count);
    aes_ctr(Seed{{1, 2}}, 0, domain, out.data(), count);
    return out;
}

std::vector<std::uint64_t> words(std::size_t count, std::uint64_t domain, unsigned bits) {
    const auto stream = blocks(count, domain);
    std::vector<std::uint64_t> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = stream[i].lo >> (64 - bits);
    return out;
}

const Delta delta(Block{0x0123456789abcdef, 0xfedcba9876543210});
constexpr HashKey key{{11, 12}};
constexpr Seed seed{{13, 14}};

void extension(const char* path) {
    constexpr unsigned k = 4;
    constexpr std::size_t ots = ot::tile_ots + 384;
    const auto leaves = blocks((128 / k) << k, 1);
    const auto choices = blocks(ots / 128, 2);
    std::vector<std::uint8_t> correction(ots / 8 * (128 / k));
    std::vector<Block> out(ots);
    DEEPREDUCE_PICK(ot).receive(leaves.data(), 0, k, 5, 2, ots, reinterpret_cast<const std::uint8_t*>(choices.data()),
                                correction.data(), out.data());
    expect(correction, 0x144f13a05c558927, "OT corrections", path);
    expect(out, 0x28bd3caf6f937fa7, "OT outputs", path);
}

void products(const char* path) {
    const auto q = blocks(64, 3);
    const auto values = words(64, 4, 37);
    std::vector<std::uint64_t> message(64), share(64);
    ot::product_send(key, 3, 4, 37, delta, q.data(), values.data(), message.data(), share.data(), 2);
    expect(message, 0xbe428f134506b21c, "product corrections", path);
}

void circuit(gc::Circuit kind, std::uint64_t tables_digest, std::uint64_t labels_digest, std::uint64_t colors_digest,
             const char* path) {
    const gc::CircuitShape shape{kind, 24, 7, 6, 3, 2};
    const auto zero = blocks(shape.client_label_blocks(), 9);
    std::vector<Block> tables(shape.table_blocks()), labels(shape.server_label_blocks());
    std::vector<std::uint16_t> decode(shape.groups * 24), colors(shape.groups * 24);
    gc::circuit_garble(shape, delta, key, seed, zero.data(), tables.data(), decode.data());
    expect(tables, tables_digest, "circuit tables", path);
    const auto b = words(shape.elements(), 10, 24);
    gc::circuit_encode(shape, delta, seed, b.data(), labels.data());
    expect(labels, labels_digest, "circuit labels", path);
    gc::circuit_evaluate(shape, key, zero.data(), labels.data(), tables.data(), colors.data());
    expect(colors, colors_digest, "circuit answers", path);
}

void comparison(const char* path) {
    const std::uint8_t widths[] = {1, 3, 4, 5}, equals[] = {0, 1, 1, 1};
    const ot::DigitShape shape{widths, equals, 4, 48};
    const std::size_t rows = shape.row_bytes();
    const auto bytes = [&](std::size_t count, std::uint64_t number) {
        const auto random = blocks(count / 16 + 1, number);
        const auto* first = reinterpret_cast<const std::uint8_t*>(random.data());
        return std::vector<std::uint8_t>(first, first + count);
    };
    const auto q = blocks(shape.bits() * 48, 15);
    const auto greater = bytes(4 * rows, 16), equal = bytes(4 * rows, 17), choices = bytes(shape.bits() * rows, 18);
    const auto numbers = words(48, 19, 13);
    std::vector<std::uint8_t> tables(shape.table_bytes()), read(8 * rows), opening(shape.opening_bytes());
    ot::table_pads_send(key, 3, 2, shape, delta, q.data(), greater.data(), equal.data(), tables.data(), 2);
    expect(tables, 0x169c917bd372a60b, "table pads", path);
    ot::table_pads_receive(key, 3, 2, shape, q.data(), choices.data(), read.data(), 2);
    expect(read, 0x3d4584a55e5fa975, "entry pads", path);
    ot::table_open(shape, numbers.data(), choices.data(), opening.data());
    expect(opening, 0xe9fa59612f89a669, "digit openings", path);
    ot::table_answer(shape, numbers.data(), opening.data(), tables.data());
    expect(tables, 0x423c88bdbf79ddd1, "tables", path);
    std::vector<std::uint8_t> zero(6 * 2 * rows), one(zero.size());
    ot::bit_pads_send(key, 9, 2, 6, 48, delta, q.data(), zero.data(), one.data(), 2);
    expect(zero, 0x5a55653094cb7135, "bit pads of 0", path);
    expect(one, 0x65c0b9816f7bd76e, "bit pads of 1", path);
    std::vector<std::uint64_t> pads(8 * 48), elements(8 * 48);
    ot::select_pads_send(key, 15, 2, 3, 48, delta, q.data(), pads.data(), 2);
    expect(pads, 0xc32af12c88e2db16, "element pads", path);
    const auto b = words(48, 20, 41), u = words(48, 21, 41), rho = words(48, 22, 41);
    const auto bits = bytes(5 * rows, 23);
    ot::elements_mask({41, 9, 23, 48}, b.data(), bits.data(), bits.data() + rows, bits.data() + 2 * rows, bits.data() + 3 * rows,
                      bits.data() + 4 * rows, u.data(), rho.data(), pads.data(), elements.data());
    expect(elements, 0x4704b3794dd7c85c, "elements", path);
}

}  // namespace

int main() {
    for (auto path : cpu::available()) {
        cpu::select(path);
        const char* name = cpu::name(path);
        extension(name);
        products(name);
        circuit(gc::Circuit::relu, 0x389a42f56f4dc821, 0x6bcd6e48e51ea3ed, 0xc011d36c0faf73db, name);
        circuit(gc::Circuit::rescale, 0xadfdf6362a85c21c, 0x6bcd6e48e51ea3ed, 0x2740b64e878cb916, name);
        comparison(name);
    }
    if (failures) std::printf("%d failures\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
