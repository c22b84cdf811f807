// A server's responses at the client that holds the key: refused, or values of the ring.
#include "he/client.hpp"

#include <map>
#include <memory>
#include <stdexcept>

#include "input.hpp"

using namespace deepreduce;
using he::i64;
using he::u64;

namespace {

const he::Client& client(unsigned bits) {
    static std::map<unsigned, std::unique_ptr<he::Client>> made;
    auto& one = made[bits];
    if (!one) one = std::make_unique<he::Client>(bits, fuzz::counted_seeds());
    return *one;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr unsigned rings[] = {2, 7, 20, 32, 33, 48, 64};
    fuzz::Input input(data, size);
    const he::Client& one = client(rings[input.number(0, 6)]);
    const he::Parameters& ps = one.parameters();
    const std::size_t responses = input.number(0, 2);
    std::vector<std::int32_t> positions;
    std::vector<i64> offsets{0};
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < responses; ++i) {
        const std::size_t useful = input.number(0, 40);
        // Positions come from the plan, never from a peer: any below N, in any order.
        for (std::size_t k = 0; k < useful; ++k)
            positions.push_back(static_cast<std::int32_t>((k * 977 + input.byte()) % ps.degree));
        offsets.push_back(static_cast<i64>(positions.size()));
        bytes += ps.response_bytes(useful);
    }
    const auto message = input.bytes(bytes);
    const unsigned threads = input.number(1, 2);
    const auto values = fuzz::on_every_path([&] {
        std::vector<u64> out(positions.size());
        try {
            one.decrypt(out.data(), message.data(), positions.data(), offsets.data(), responses, threads);
        } catch (const std::invalid_argument&) {
            out.assign(positions.size(), ~u64{0});
        }
        return out;
    });
    const u64 most = ~u64{0} >> (64 - ps.ring_bits);
    for (const u64 value : values) fuzz::expect(value <= most || value == ~u64{0}, "a value is in the ring");
    return 0;
}
