// A client's keys and uploads at the server: refused, or answered, whatever they encrypt.
#include "he/server.hpp"

#include <map>
#include <memory>
#include <stdexcept>

#include "input.hpp"

using namespace deepreduce;
using he::i64;
using he::u64;

namespace {

constexpr he::Shape shape{3, 4, 1, 3, 3, 6, 6, 2, 2, 2};  // two uploads, two products, one response

const he::Weights& weights(unsigned bits) {
    static std::map<unsigned, std::unique_ptr<he::Weights>> made;
    auto& one = made[bits];
    if (!one) {
        std::int16_t w[3 * 4 * 9];
        for (int i = 0; i < 108; ++i) w[i] = static_cast<std::int16_t>(i - 54);
        one = std::make_unique<he::Weights>(bits, shape, w, 1);
    }
    return *one;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr unsigned rings[] = {20, 32, 33, 64};
    fuzz::Input input(data, size);
    const unsigned bits = rings[input.number(0, 3)], threads = input.number(1, 2);
    const he::Weights& one = weights(bits);
    const he::Parameters& ps = one.parameters();
    const std::size_t count = input.number(0, 3);
    const std::vector<unsigned> levels{0};
    const auto keys = input.bytes(ps.public_key_bytes() + ps.packing_key_bytes()), uploads = input.bytes(count * ps.upload_bytes());
    std::vector<std::int32_t> positions;
    for (std::size_t i = 0; i < ps.degree && positions.size() < 16; ++i) {
        if (one.is_output(0, i)) positions.push_back(static_cast<std::int32_t>(i));
    }
    const i64 offsets[2] = {0, static_cast<i64>(positions.size())};
    const std::vector<u64> masks(positions.size(), 5);
    fuzz::on_every_path([&] {
        std::vector<std::uint8_t> out;
        try {
            const he::Server server(bits, keys.data(), levels, fuzz::counted_seeds());
            he::Upload upload(bits, shape.blocks_in());
            upload.add(uploads.data(), count, threads);
            if (upload.received() == shape.blocks_in()) {
                out.resize(ps.response_bytes(positions.size()));
                server.respond(out.data(), one, upload, 0, 1, positions.data(), offsets, masks.data(), threads);
            }
        } catch (const std::invalid_argument&) {
        }
        return out;
    });
    return 0;
}
