// The homomorphic phase: the client's key, errors and masks, the server's weights, masks and randomness are secret;
// what is sent is public, and so are the seeds that stand for uniform halves. Weights become secret once they are
// loaded: loading asks whether their norm is within bounds, and says so.
#include <cstdint>
#include <vector>

#include "checks.hpp"
#include "he/client.hpp"
#include "he/server.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

// The client asks for: the seed of its key, a public one, then a public and a secret one for each upload.
he::SeedSource client_seeds() {
    return [n = std::uint64_t{0}]() mutable {
        Seed seed{{n, 5}};
        if (n == 0 || (n > 1 && n % 2 == 1)) poison(&seed, sizeof seed);
        ++n;
        return seed;
    };
}

he::SeedSource server_seeds() {
    return [n = std::uint64_t{0}]() mutable {
        Seed seed{{n++, 6}};
        poison(&seed, sizeof seed);
        return seed;
    };
}

void exchange(unsigned bits) {
    he::Client client(bits, client_seeds());
    const he::Parameters& ps = client.parameters();
    expect_secret(client.public_key().data() + lattice::seed_bytes, ps.polynomial_bytes(), "public key");
    declassify(client.public_key().data(), client.public_key().size());

    const he::Shape shape = {3, 4, 1, 3, 3, 6, 5, 3, 2};
    std::vector<std::uint64_t> polynomials(2 * ps.degree, 9);
    poison(polynomials.data(), polynomials.size() * 8);
    std::vector<std::uint8_t> sent(2 * ps.upload_bytes());
    client.encrypt(sent.data(), polynomials.data(), 2, 1);
    for (std::size_t i = 0; i < 2; ++i) {
        expect_secret(sent.data() + i * ps.upload_bytes() + lattice::seed_bytes, ps.polynomial_bytes(), "encrypt");
    }
    declassify(sent.data(), sent.size());

    const he::Server server(bits, client.public_key().data(), server_seeds());
    he::Upload upload(bits, 2);
    upload.add(sent.data(), 2, 1);
    const std::vector<std::int16_t> w(3 * 4 * 9, -77);
    const he::Weights weights(bits, shape, w.data(), 1);
    poison(weights.chunk(0, 0, 0), weights.memory_bytes());
    std::vector<std::int32_t> positions;
    std::vector<std::int64_t> offsets = {0};
    std::size_t bytes = 0;
    for (std::size_t b = 0; b < shape.blocks_out(); ++b) {
        const std::size_t before = positions.size();
        for (std::size_t i = 0; i < ps.degree; ++i) {
            if (weights.is_output(b, i)) positions.push_back(static_cast<std::int32_t>(i));
        }
        offsets.push_back(static_cast<std::int64_t>(positions.size()));
        bytes += ps.response_bytes(positions.size() - before);
    }
    std::vector<std::uint64_t> masks(positions.size(), 3), values(positions.size());
    poison(masks.data(), masks.size() * 8);
    std::vector<std::uint8_t> responses(bytes);
    server.respond(responses.data(), weights, upload, 0, shape.blocks_out(), positions.data(), offsets.data(),
                   masks.data(), 1);
    expect_secret(responses.data(), responses.size(), "respond");
    declassify(responses.data(), responses.size());

    client.decrypt(values.data(), responses.data(), positions.data(), offsets.data(), shape.blocks_out(), 1);
    expect_secret(values.data(), values.size() * 8, "decrypt");
}

}  // namespace

void check_he() {
    for (unsigned bits : {8u, 32u, 41u, 64u}) exchange(bits);
}

}  // namespace deepreduce::constant_time
