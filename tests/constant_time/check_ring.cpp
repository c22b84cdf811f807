// Linear layers: inputs, weights and bias are secret. Bit packing: the values, and a peer's bytes but for their
// padding.
#include <cstdint>
#include <vector>

#include "checks.hpp"
#include "ring/bits.hpp"
#include "ring/convolution.hpp"
#include "secret.hpp"

namespace deepreduce::constant_time {
namespace {

void linear(std::size_t groups, std::size_t outputs, std::size_t group_channels, unsigned bits) {
    const auto weights = secrets<std::int16_t>(outputs * group_channels * 3 * 2);
    const ring::LinearWeights layer(weights.data(), outputs, group_channels, 3, 2, groups, bits);
    const ring::Map input{2, groups * group_channels, 6, 5};
    const auto x = secrets<std::uint64_t>(input.batch * input.channels * input.height * input.width);
    const auto bias = secrets<std::uint64_t>(outputs);
    const ring::Geometry geometry{1, 2, 1, 0, 1, 1};
    const ring::Map output = layer.output(input, geometry);
    std::vector<std::uint64_t> y(output.batch * output.channels * output.height * output.width);
    layer.convolve(x.data(), input, bias.data(), geometry, 1, y.data());
    expect_secrets(y, "LinearWeights::convolve");
}

void packing(std::size_t n, unsigned bits) {
    const auto values = secrets<std::uint64_t>(n);
    std::vector<std::uint8_t> bytes(ring::packed_bytes(n, bits));
    ring::pack(values.data(), n, bits, bytes.data());
    expect_secrets(bytes, "pack");
    (void)ring::padding_is_zero(bytes.data(), n, bits);  // looks at bits that are zero for all values
    std::vector<std::uint64_t> back(n);
    ring::unpack(bytes.data(), n, bits, back.data());
    expect_secrets(back, "unpack");
}

}  // namespace

void check_ring() {
    for (unsigned bits : {8u, 32u, 41u, 64u}) {
        linear(1, 35, 5, bits);
        linear(2, 40, 3, bits);
        linear(6, 6, 1, bits);
    }
    for (unsigned bits = 1; bits <= 64; ++bits) {
        for (std::size_t n : {1, 7, 64, 70}) packing(n, bits);
    }
}

}  // namespace deepreduce::constant_time
