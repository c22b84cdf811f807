// Included inside the namespace of each CPU path, so that every path compiles its own copy.
//
// Plain 64-bit arithmetic serves all rings: sums mod 2^64 are right mod any 2^l. The weights of a depthwise layer are
// few and each meets one channel only, so loads and not products set the pace.
void depthwise(const Depthwise& d, std::uint64_t* __restrict sums) {
    for (std::size_t pixel = 0; pixel < d.pixels; ++pixel) {
        std::uint64_t* __restrict row = sums + pixel * d.channels;
        for (std::size_t c = 0; c < d.channels; ++c) row[c] = 0;
        for (std::size_t tap = 0; tap < d.taps; ++tap) {
            const std::uint64_t* __restrict x = d.words + d.offsets[pixel] + d.tap_offsets[tap];
            const std::int16_t* __restrict w = d.weights + tap * d.channels;
            for (std::size_t c = 0; c < d.channels; ++c) {
                row[c] += static_cast<std::uint64_t>(static_cast<std::int64_t>(w[c])) * x[c];
            }
        }
    }
}
