// Ring elements and numbers of alternating widths on the wire: what is read is written as it was.
#include "he/bit_stream.hpp"
#include "input.hpp"
#include "ring/bits.hpp"

using namespace deepreduce;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const unsigned bits = input.number(1, 64);
    const std::size_t count = input.byte();
    const auto message = input.bytes(ring::packed_bytes(count, bits));
    if (ring::padding_is_zero(message.data(), count, bits)) {
        std::vector<std::uint64_t> values(count);
        ring::unpack(message.data(), count, bits, values.data());
        for (const auto value : values) fuzz::expect(value <= ~std::uint64_t{0} >> (64 - bits), "an element is in the ring");
        std::vector<std::uint8_t> again(message.size());
        ring::pack(values.data(), count, bits, again.data());
        fuzz::expect(again == message, "elements are written as they were read");
    }

    unsigned widths[8], total = 0;
    for (auto& width : widths) total += width = input.number(1, 57);
    const auto stream = input.bytes((total + 7) / 8);
    he::BitReader reader(stream.data(), stream.size());
    std::vector<std::uint8_t> written(stream.size());
    he::BitWriter writer(written.data());
    for (const auto width : widths) writer.put(reader.get(width), width);
    writer.finish();
    const unsigned padding = stream.size() * 8 - total;
    fuzz::expect(!std::memcmp(written.data(), stream.data(), stream.size() - 1) &&
                     written.back() == (stream.back() & (0xff >> padding)),
                 "a stream of bits is written as it was read");
    (void)reader.get(57);  // beyond the end: zeros
    return 0;
}
