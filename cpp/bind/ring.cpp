// Ring arithmetic in Python: linear layers and bit packing. Shapes and ranges are checked here, before allocation.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "bind/arrays.hpp"
#include "bind/register.hpp"
#include "ring/bits.hpp"
#include "ring/convolution.hpp"

namespace deepreduce::bind {
namespace {

using namespace nb::literals;
using ring::LinearWeights;

constexpr std::int64_t longest_side = 1 << 14;               // of a padded map, a stride or a kernel
constexpr std::size_t most_elements = std::size_t{1} << 34;  // of an array

std::int64_t in_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most) {
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ", must be from " +
                                    std::to_string(least) + " to " + std::to_string(most));
    }
    return value;
}

template <class Array>
void need_dimensions(const char* name, const Array& array, std::size_t dimensions) {
    if (array.ndim() != dimensions) {
        throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.ndim()) +
                                    " dimensions, must have " + std::to_string(dimensions));
    }
}

void need_equal(const std::string& name, std::size_t value, std::size_t wanted) {
    if (value != wanted) {
        throw std::invalid_argument(name + " is " + std::to_string(value) + ", must be " + std::to_string(wanted));
    }
}

LinearWeights* make_weights(void* place, In<std::int16_t> weights, std::int64_t groups, std::int64_t ring_bits) {
    need_dimensions("weights", weights, 4);
    in_range("ring_bits", ring_bits, 1, 64);
    for (std::size_t axis = 0; axis < 4; ++axis) {
        in_range("a side of weights", static_cast<std::int64_t>(weights.shape(axis)), 1, longest_side);
    }
    in_range("groups", groups, 1, static_cast<std::int64_t>(weights.shape(0)));
    need_equal("the remainder of outputs by groups", weights.shape(0) % static_cast<std::size_t>(groups), 0);
    const nb::gil_scoped_release release;  // an exception takes the lock back
    std::int16_t least = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) least = std::min(least, weights.data()[i]);
    in_range("the least weight", least, -32767, 32767);
    return new (place)
        LinearWeights(weights.data(), weights.shape(0), weights.shape(1), weights.shape(2), weights.shape(3),
                      static_cast<std::size_t>(groups), static_cast<unsigned>(ring_bits));
}

Result<std::uint64_t> convolve(const LinearWeights& weights, In<std::uint64_t> x, std::optional<In<std::uint64_t>> bias,
                               std::tuple<std::int64_t, std::int64_t> stride,
                               std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t> padding,
                               std::int64_t threads) {
    need_dimensions("x", x, 4);
    in_range("threads", threads, 1, 256);
    need_equal("x's number of channels", x.shape(1), weights.group_channels * weights.groups);
    const auto side = [](const char* name, std::int64_t value, std::int64_t least = 0) {
        return static_cast<std::size_t>(in_range(name, value, least, longest_side));
    };
    const ring::Map input{x.shape(0), x.shape(1), x.shape(2), x.shape(3)};
    for (std::size_t axis = 2; axis < 4; ++axis) side("a side of x", static_cast<std::int64_t>(x.shape(axis)), 1);
    const ring::Geometry geometry{
        side("the vertical stride", std::get<0>(stride), 1),   side("the horizontal stride", std::get<1>(stride), 1),
        side("the padding on top", std::get<0>(padding)),      side("the padding at the bottom", std::get<1>(padding)),
        side("the padding on the left", std::get<2>(padding)), side("the padding on the right", std::get<3>(padding))};
    const std::size_t height = input.height + geometry.top + geometry.bottom;
    const std::size_t width = input.width + geometry.left + geometry.right;
    side("the padded height, of kernels this high,", static_cast<std::int64_t>(height),
         static_cast<std::int64_t>(weights.kernel_height));
    side("the padded width, of kernels this wide,", static_cast<std::int64_t>(width),
         static_cast<std::int64_t>(weights.kernel_width));
    const std::size_t channels = std::max(weights.outputs, input.channels);  // at most 2^28, and a plane likewise
    in_range("the batch", static_cast<std::int64_t>(input.batch), 1,
             static_cast<std::int64_t>(std::max<std::size_t>(1, most_elements / (height * width) / channels)));
    if (bias) {
        need_dimensions("bias", *bias, 1);
        need_equal("bias's length", bias->shape(0), weights.outputs);
    }
    const ring::Map output = weights.output(input, geometry);
    auto y = make<std::uint64_t>({output.batch, output.channels, output.height, output.width});
    const nb::gil_scoped_release release;
    weights.convolve(x.data(), input, bias ? bias->data() : nullptr, geometry, static_cast<unsigned>(threads),
                     y.data());
    return y;
}

std::size_t packed_size(std::size_t n, std::int64_t bits) {
    in_range("bits", bits, 1, 64);
    in_range("the number of values", static_cast<std::int64_t>(n), 0, static_cast<std::int64_t>(most_elements));
    return ring::packed_bytes(n, static_cast<unsigned>(bits));
}

void pack_into(In<std::uint64_t> values, std::int64_t bits, Out<std::uint8_t> out) {
    need_dimensions("values", values, 1);
    need_dimensions("out", out, 1);
    need_equal("out's length", out.size(), packed_size(values.size(), bits));
    const nb::gil_scoped_release release;
    ring::pack(values.data(), values.size(), static_cast<unsigned>(bits), out.data());
}

Result<std::uint8_t> pack(In<std::uint64_t> values, std::int64_t bits) {
    need_dimensions("values", values, 1);
    auto out = make<std::uint8_t>({packed_size(values.size(), bits)});
    const nb::gil_scoped_release release;
    ring::pack(values.data(), values.size(), static_cast<unsigned>(bits), out.data());
    return out;
}

Result<std::uint64_t> unpack(In<std::uint8_t> data, std::int64_t n, std::int64_t bits) {
    need_dimensions("data", data, 1);
    in_range("n", n, 0, static_cast<std::int64_t>(most_elements));
    const auto count = static_cast<std::size_t>(n);
    need_equal("data's length", data.size(), packed_size(count, bits));
    if (!ring::padding_is_zero(data.data(), count, static_cast<unsigned>(bits))) {
        throw std::invalid_argument("the bits after the last value are not zero: not the bytes that pack() writes");
    }
    auto values = make<std::uint64_t>({count});
    const nb::gil_scoped_release release;
    ring::unpack(data.data(), count, static_cast<unsigned>(bits), values.data());
    return values;
}

}  // namespace

void register_ring(nb::module_& m) {
    nb::class_<LinearWeights>(
        m, "LinearWeights",
        "Weights of a convolution (or, 1x1, a fully connected layer), packed for the kernels.\n\n"
        "weights: int16 [O, C / groups, kh, kw], above -2**15; the ring is Z mod 2**ring_bits, 1 to 64.")
        .def(
            "__init__",
            [](LinearWeights* place, In<std::int16_t> weights, std::int64_t groups, std::int64_t ring_bits) {
                make_weights(place, weights, groups, ring_bits);
            },
            nb::arg("weights").noconvert(), "groups"_a = 1, "ring_bits"_a = 32)
        .def("convolve", convolve, nb::arg("x").noconvert(), nb::arg("bias").noconvert() = nb::none(),
             "stride"_a = std::make_tuple(1, 1), "padding"_a = std::make_tuple(0, 0, 0, 0), "threads"_a = 1,
             "The exact cross-correlation mod 2**ring_bits plus bias: x uint64 [B, C, H, W], bias uint64 [O] or None\n"
             "-> uint64 [B, O, Ho, Wo]. stride (vertical, horizontal), padding (top, bottom, left, right) with zeros.\n"
             "Elements of x and bias count mod 2**ring_bits. Constant time in x, bias and weights.")
        .def_prop_ro("ring_bits", [](const LinearWeights& weights) { return weights.bits; });
    m.def("pack", pack, nb::arg("values").noconvert(), "bits"_a,
          "values uint64 [n], each mod 2**bits (1 to 64) -> uint8 [ceil(n * bits / 8)], little-endian. Constant time.");
    m.def("pack_into", pack_into, nb::arg("values").noconvert(), "bits"_a, nb::arg("out").noconvert(),
          "As pack, into out uint8 [ceil(n * bits / 8)].");
    m.def("unpack", unpack, nb::arg("data").noconvert(), "n"_a, "bits"_a,
          "The n values uint64 that pack() wrote. ValueError where data's length differs or bits after the last value\n"
          "are set.");
    m.def(
        "bench_multiply_add_peak",
        [](std::int64_t ring_bits) {
            in_range("ring_bits", ring_bits, 1, 64);
            const nb::gil_scoped_release release;
            return ring::multiply_add_peak(static_cast<unsigned>(ring_bits));
        },
        "ring_bits"_a = 32, "Ring multiply-adds per second of one thread in registers alone, on the path in use.");
}

}  // namespace deepreduce::bind
