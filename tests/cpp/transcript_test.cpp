// Digests of every message that OT and garbling send, with INSECURE fixed seeds: a change of one is a change of protocol
// (and needs a new version in the hello), however small it looks. The same on every CPU path and number of threads.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/aes.hpp"
#include "base/cpu.hpp"
#include "base/dispatch.hpp"
#include "gc/fused.hpp"
#include "gc/garbled.hpp"
#include "ot/kernels.hpp"
#include "ot/product.hpp"
#include "ot/rescale.hpp"
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
    DEEPREDUCE_PICK(ot).receive(leaves.data(), k, 5, 2, ots, reinterpret_cast<const std::uint8_t*>(choices.data()),
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

void sign(const char* path) {
    const gc::SignShape shape{37, 21, 6, 5, 2};
    const auto zero = blocks(shape.label_blocks(), 5);
    std::vector<Block> tables(shape.table_blocks()), labels(shape.label_blocks());
    std::vector<std::uint64_t> pads(shape.elements() * 4), elements(shape.elements() * 4), answer(shape.elements());
    std::vector<std::uint16_t> lambda(shape.groups), color(shape.groups);
    gc::sign_garble(shape, delta, key, seed, zero.data(), tables.data(), pads.data(), lambda.data(), color.data());
    expect(tables, 0xbd39b6b4e891049a, "sign tables", path);
    const auto b = words(shape.elements(), 6, 21), u = words(shape.elements(), 7, 37), rho = words(shape.elements(), 8, 37);
    gc::sign_respond(shape, delta, seed, b.data(), pads.data(), lambda.data(), color.data(), u.data(), rho.data(),
                     labels.data(), elements.data());
    expect(labels, 0xfecdcb5cefe5b61e, "sign labels", path);
    expect(elements, 0x43f6c47f238588a8, "sign elements", path);
    gc::sign_evaluate(shape, key, zero.data(), labels.data(), tables.data(), elements.data(), u.data(), rho.data(), u.data(),
                      answer.data());
    expect(answer, 0x9165e2a25ab08d6c, "sign answers", path);
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

void rescale(const char* path) {
    const ot::RescaleShape shape{41, 9, 48};
    const auto shares = words(48, 11, 41), product = words(48, 12, 9), mask = words(48, 13, 41);
    const auto c = blocks(1, 14);
    std::vector<std::uint8_t> d(6);
    std::vector<std::uint64_t> a(48), negative(48), answer(48);
    ot::rescale_client_shares(shape, shares.data(), a.data(), negative.data());
    ot::rescale_open(shape, shares.data(), reinterpret_cast<const std::uint8_t*>(c.data()), d.data());
    expect(d, 0x99b64195d737c4f7, "rescale openings", path);
    ot::rescale_answer(shape, a.data(), product.data(), d.data(), mask.data(), answer.data());
    expect(answer, 0x1d00c206ba15084a, "rescale answers", path);
}

}  // namespace

int main() {
    for (auto path : cpu::available()) {
        cpu::select(path);
        const char* name = cpu::name(path);
        extension(name);
        products(name);
        sign(name);
        circuit(gc::Circuit::relu, 0x389a42f56f4dc821, 0x6bcd6e48e51ea3ed, 0xc011d36c0faf73db, name);
        circuit(gc::Circuit::rescale, 0xadfdf6362a85c21c, 0x6bcd6e48e51ea3ed, 0x2740b64e878cb916, name);
        rescale(name);
    }
    if (failures) std::printf("%d failures\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
