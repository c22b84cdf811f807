// The homomorphic phase: keys, polynomials, weights, masks and all seeds but those that are sent are secret;
// ciphertexts are public once they are on their way.
#include <cstdint>
#include <vector>

#include "base/random.hpp"
#include "checks.hpp"
#include "he/client.hpp"
#include "he/server.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

// The client's seeds: key, public half of the public key; then per encryption its public half and its errors.
he::SeedSource client_seeds() {
    return [call = 0]() mutable {
        Seed seed{random_block()};
        // Of an encryption the first seed is of the public half; the key itself comes before all.
        if (call == 1 || (call > 1 && call % 2 == 0)) constant_time::declassify(&seed, sizeof seed);
        ++call;
        return seed;
    };
}

template <class T>
void send(std::vector<T>& message, const char* what) {
    expect_secret(message.data(), message.size() * sizeof(T), what);
    constant_time::declassify(message.data(), message.size() * sizeof(T));
}

void exchange(unsigned ring_bits, std::size_t packed) {
    const he::Shape shape{.outputs = 3,
                          .inputs = 4,
                          .groups = 1,
                          .kernel_h = 3,
                          .kernel_w = 3,
                          .area_h = 8,
                          .area_w = 8,
                          .block_channels = 2,
                          .block_outputs = 2,
                          .packed = packed};
    he::Client client(ring_bits, client_seeds());
    const he::Parameters& parameters = client.parameters();
    std::vector<std::uint8_t> keys = client.public_key();
    send(keys, "Client: public key");
    const std::vector<unsigned> levels{0};
    std::vector<std::uint8_t> packing(parameters.packing_key_bytes());
    client.packing_keys(packing.data(), levels);
    send(packing, "Client::packing_keys");
    keys.insert(keys.end(), packing.begin(), packing.end());

    const auto polynomials = secrets<std::uint64_t>(shape.blocks_in() * parameters.degree);
    std::vector<std::uint8_t> uploads(shape.blocks_in() * parameters.upload_bytes());
    client.encrypt(uploads.data(), polynomials.data(), shape.blocks_in(), 1);
    send(uploads, "Client::encrypt");

    const auto w = secrets<std::int16_t>(shape.outputs * shape.inputs * 9);
    const he::Weights weights(ring_bits, shape, w.data(), 1);
    expect_secret(weights.block(0, nullptr), weights.inputs(0) * 32 * 8, "Weights");
    const he::Weights computed(ring_bits, shape, w.data(), 1, false);
    he::Upload upload(ring_bits, shape.blocks_in());
    upload.add(uploads.data(), shape.blocks_in(), 1);

    std::vector<std::int32_t> positions;
    std::vector<std::int64_t> offsets{0};
    for (std::size_t response = 0; response < shape.responses(); ++response) {
        for (std::size_t position = 0; position < parameters.degree; ++position) {
            if (weights.is_output(response, position)) positions.push_back(static_cast<std::int32_t>(position));
        }
        offsets.push_back(static_cast<std::int64_t>(positions.size()));
    }
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < shape.responses(); ++i) {
        bytes += parameters.response_bytes(static_cast<std::size_t>(offsets[i + 1] - offsets[i]));
    }
    const auto masks = secrets<std::uint64_t>(positions.size());
    std::vector<std::uint8_t> responses(bytes);
    const he::Server server(ring_bits, keys.data(), levels);
    server.respond(responses.data(), weights, upload, 0, shape.responses(), positions.data(), offsets.data(),
                   masks.data(), 1);
    send(responses, "Server::respond");
    std::vector<std::uint8_t> again(bytes);
    server.respond(again.data(), computed, upload, 0, shape.responses(), positions.data(), offsets.data(), masks.data(), 1);
    send(again, "Server::respond, weights not cached");

    std::vector<std::uint64_t> values(positions.size());
    client.decrypt(values.data(), responses.data(), positions.data(), offsets.data(), shape.responses(), 1);
    expect_secrets(values, "Client::decrypt");
}

}  // namespace

void check_he() {
    for (const std::size_t packed : {1, 2}) {
        exchange(32, packed);
        exchange(41, packed);
    }
}

}  // namespace deepreduce::constant_time
