// Included inside the namespace of each CPU path, so that every path compiles its own copy.
//
// Plain 64-bit arithmetic serves all rings: sums mod 2^64 are right mod any 2^l. The weights of a depthwise layer are
// few and each meets one channel only, so loads and not products set the pace; lanes are pixels, and nothing is
// transposed.
void depthwise(const Depthwise& d, std::uint64_t* __restrict sums) {
    for (std::size_t row = 0; row < d.height; ++row, sums += d.width) {
        for (std::size_t column = 0; column < d.width; ++column) sums[column] = 0;
        for (std::size_t i = 0; i < d.kernel_height; ++i) {
            for (std::size_t j = 0; j < d.kernel_width; ++j) {
                const auto weight = static_cast<std::uint64_t>(d.weights[i * d.kernel_width + j]);
                const std::uint64_t* __restrict x = d.channel + (row * d.stride_height + i) * d.row_stride + j;
                if (d.stride_width == 1) {
                    for (std::size_t column = 0; column < d.width; ++column) sums[column] += weight * x[column];
                } else {
                    const std::size_t stride = d.stride_width;
                    for (std::size_t column = 0; column < d.width; ++column)
                        sums[column] += weight * x[column * stride];
                }
            }
        }
    }
}
