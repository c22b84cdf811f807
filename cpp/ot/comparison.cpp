#include "ot/comparison.hpp"

#include <algorithm>
#include <cstring>

#include "base/dispatch.hpp"
#include "base/parallel.hpp"
#include "base/secret_vector.hpp"
#include "ot/kernels.hpp"
#include "ring/bits.hpp"
#include "ring/element.hpp"

namespace deepreduce::ot {
namespace {

using Words = SecretVector<std::uint64_t>;

constexpr std::uint64_t low_half = 0xffffffff;

// Places of a table of 32 entries whose number has bit j, in both halves of a word.
constexpr std::uint64_t places[widest_digit] = {0xaaaaaaaaaaaaaaaa, 0xcccccccccccccccc, 0xf0f0f0f0f0f0f0f0,
                                                0xff00ff00ff00ff00, 0xffff0000ffff0000};

using Flags = SecretVector<std::uint8_t>;

// Eight bits as eight bytes of 0 or 1, the lowest first.
std::uint64_t bytes_of(std::uint8_t bits) {
    const std::uint64_t apart = (bits * 0x0101010101010101u) & 0x8040201008040201u;
    return ((apart + 0x7f7f7f7f7f7f7f7fu) | apart) >> 7 & 0x0101010101010101u;
}

// A row's bits, a byte of 0 or 1 each. `count` is a multiple of 8.
void expand(const std::uint8_t* row, std::size_t count, std::uint8_t* flags) {
    for (std::size_t i = 0; i < count; i += 8) {
        const std::uint64_t eight = bytes_of(row[i / 8]);
        std::memcpy(flags + i, &eight, 8);
    }
}

Flags expanded(const std::uint8_t* row, std::size_t count) {
    Flags flags(count);
    expand(row, count, flags.data());
    return flags;
}

// The inverse, of bit 0 of each byte.
void compress(const std::uint8_t* flags, std::size_t count, std::uint8_t* row) {
    for (std::size_t i = 0; i < count; i += 8) {
        std::uint64_t eight;
        std::memcpy(&eight, flags + i, 8);
        row[i / 8] = static_cast<std::uint8_t>((eight & 0x0101010101010101u) * 0x0102040810204080u >> 56);
    }
}

// All ones for 1.
std::uint64_t spread(std::uint8_t flag) { return -static_cast<std::uint64_t>(flag); }

// x where the mask is 0, -x where it is all ones.
std::uint64_t negate_if(std::uint64_t x, std::uint64_t mask) { return (x ^ mask) - mask; }

std::uint64_t digit_of(std::uint64_t number, unsigned place, unsigned width) { return (number >> place) & ring::mask(width); }

// Numbers of `width` bits from as many rows.
Flags choices_of(const std::uint8_t* rows, std::size_t row_bytes, unsigned width, std::size_t from, std::size_t count) {
    Flags found(count), one(count);
    for (unsigned j = 0; j < width; ++j) {
        expand(rows + j * row_bytes + from / 8, count, one.data());
        for (std::size_t i = 0; i < count; ++i) found[i] = static_cast<std::uint8_t>(found[i] | one[i] << j);
    }
    return found;
}

std::uint64_t number_of(std::uint64_t row, std::uint64_t first_group) { return (row << row_shift) + first_group; }

// Calls work(digit, place of its first bit).
template <class Work>
void for_digits(const DigitShape& shape, Work&& work) {
    unsigned place = 0;
    for (std::size_t digit = 0; digit < shape.digits; ++digit) {
        work(digit, place);
        place += shape.widths[digit];
    }
}

// Bit `place` of each word as a row.
void pack_row(const std::uint64_t* words, std::size_t count, unsigned place, std::uint8_t* row) {
    Flags flags(count);
    for (std::size_t i = 0; i < count; ++i) flags[i] = static_cast<std::uint8_t>(words[i] >> place);
    compress(flags.data(), count, row);
}

// Rows of bits 0 and 1 of each word.
void pack_two(const Words& words, std::size_t count, std::uint8_t* rows) {
    pack_row(words.data(), count, 0, rows);
    pack_row(words.data(), count, 1, rows + count / 8);
}

// x * (the field's generator) in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1.
Block times_x(Block b) {
    const std::uint64_t carry = -(b.hi >> 63);
    return {(b.lo << 1) ^ (carry & 0x87), (b.hi << 1) | (b.lo >> 63)};
}

// b_0 + x b_1 + x^2 b_2 of the rows' blocks.
Block combined(const Block* rows, unsigned selectors, std::size_t elements, std::size_t i) {
    Block found = rows[(selectors - 1) * elements + i];
    for (unsigned j = selectors - 1; j-- > 0;) found = times_x(found) ^ rows[j * elements + i];
    return found;
}

}  // namespace

std::size_t DigitShape::bits() const {
    std::size_t total = 0;
    for (std::size_t digit = 0; digit < digits; ++digit) total += widths[digit];
    return total;
}

std::size_t DigitShape::table_bytes() const {
    std::size_t total = 0;
    for (std::size_t digit = 0; digit < digits; ++digit) {
        total += ring::packed_bytes(elements, 1u << widths[digit]) * (1u + equals[digit]);
    }
    return total;
}

std::size_t DigitShape::opening_bytes() const {
    std::size_t total = 0;
    for (std::size_t digit = 0; digit < digits; ++digit) total += ring::packed_bytes(elements, widths[digit]);
    return total;
}

void table_pads_send(HashKey key, std::uint64_t first_row, std::uint64_t first_group, const DigitShape& shape,
                     const Delta& delta, const Block* q, const std::uint8_t* greater, const std::uint8_t* equal,
                     std::uint8_t* pads, unsigned threads) {
    const std::size_t n = shape.elements;
    Words all(n * shape.digits);
    parallel_for(n / group_size, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, count = (last - first) * group_size;
        Words zero(count), one(count);
        for_digits(shape, [&](std::size_t digit, unsigned place) {
            std::uint64_t* sums = all.data() + digit * n + from;
            const Flags own = expanded(greater + digit * shape.row_bytes() + from / 8, count);
            const Flags same = expanded(equal + digit * shape.row_bytes() + from / 8, count);
            for (std::size_t i = 0; i < count; ++i) sums[i] = (spread(own[i]) & low_half) | (spread(same[i]) & ~low_half);
            for (unsigned j = 0; j < shape.widths[digit]; ++j) {
                DEEPREDUCE_PICK(ot).hash(key.value, number_of(first_row + place + j, first_group + first), last - first,
                                         q + (place + j) * n + from, &delta.value, zero.data(), one.data());
                for (std::size_t i = 0; i < count; ++i) sums[i] ^= (zero[i] & ~places[j]) | (one[i] & places[j]);
            }
        });
    });
    Words half(n);
    for (std::size_t digit = 0; digit < shape.digits; ++digit) {
        const unsigned entries = 1u << shape.widths[digit];
        const std::uint64_t* sums = all.data() + digit * n;
        ring::pack(sums, n, entries, pads);
        pads += ring::packed_bytes(n, entries);
        if (!shape.equals[digit]) continue;
        for (std::size_t i = 0; i < n; ++i) half[i] = sums[i] >> 32;
        ring::pack(half.data(), n, entries, pads);
        pads += ring::packed_bytes(n, entries);
    }
}

void table_pads_receive(HashKey key, std::uint64_t first_row, std::uint64_t first_group, const DigitShape& shape,
                        const Block* t, const std::uint8_t* choices, std::uint8_t* pads, unsigned threads) {
    const std::size_t n = shape.elements, row = shape.row_bytes();
    parallel_for(n / group_size, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, count = (last - first) * group_size;
        Words sums(count), hashed(count);
        for_digits(shape, [&](std::size_t digit, unsigned place) {
            std::fill(sums.begin(), sums.end(), 0);
            for (unsigned j = 0; j < shape.widths[digit]; ++j) {
                DEEPREDUCE_PICK(ot).hash(key.value, number_of(first_row + place + j, first_group + first), last - first,
                                         t + (place + j) * n + from, nullptr, hashed.data(), nullptr);
                for (std::size_t i = 0; i < count; ++i) sums[i] ^= hashed[i];
            }
            const Flags chosen = choices_of(choices + place * row, row, shape.widths[digit], from, count);
            for (std::size_t i = 0; i < count; ++i) sums[i] >>= chosen[i];
            pack_row(sums.data(), count, 0, pads + 2 * digit * row + from / 8);
            pack_row(sums.data(), count, 32, pads + (2 * digit + 1) * row + from / 8);
        });
    });
}

void table_open(const DigitShape& shape, const std::uint64_t* numbers, const std::uint8_t* choices, std::uint8_t* opening) {
    Words moved(shape.elements);
    for_digits(shape, [&](std::size_t digit, unsigned place) {
        const unsigned width = shape.widths[digit];
        const Flags chosen = choices_of(choices + place * shape.row_bytes(), shape.row_bytes(), width, 0, shape.elements);
        for (std::size_t i = 0; i < shape.elements; ++i) moved[i] = digit_of(numbers[i], place, width) - chosen[i];
        ring::pack(moved.data(), shape.elements, width, opening);
        opening += ring::packed_bytes(shape.elements, width);
    });
}

void table_answer(const DigitShape& shape, const std::uint64_t* numbers, const std::uint8_t* opening, std::uint8_t* pads) {
    const std::size_t n = shape.elements;
    Words moved(n), table(n);
    SecretVector<std::uint8_t> packed(ring::packed_bytes(n, 1u << widest_digit));
    for_digits(shape, [&](std::size_t digit, unsigned place) {
        const unsigned width = shape.widths[digit], entries = 1u << width;
        ring::unpack(opening, n, width, moved.data());
        opening += ring::packed_bytes(n, width);
        const auto write = [&](auto&& entry) {
            for (std::size_t i = 0; i < n; ++i) {
                const std::uint64_t all = entry(digit_of(numbers[i], place, width)) & ring::mask(entries);
                const std::uint64_t by = moved[i];  // entry j of the message is entry j + by of the table
                table[i] = (all >> by) | (all << ((entries - by) & 63));
            }
            ring::pack(table.data(), n, entries, packed.data());
            const std::size_t bytes = ring::packed_bytes(n, entries);
            for (std::size_t i = 0; i < bytes; ++i) pads[i] ^= packed[i];
            pads += bytes;
        };
        write([](std::uint64_t c) { return ~((std::uint64_t{2} << c) - 1); });  // entries above c
        if (shape.equals[digit]) write([](std::uint64_t c) { return std::uint64_t{1} << c; });
    });
}

void table_read(const DigitShape& shape, const std::uint8_t* tables, const std::uint8_t* choices, const std::uint8_t* pads,
                std::uint8_t* greater, std::uint8_t* equal) {
    const std::size_t n = shape.elements, row = shape.row_bytes();
    Words table(n);
    for_digits(shape, [&](std::size_t digit, unsigned place) {
        const unsigned width = shape.widths[digit], entries = 1u << width;
        const Flags chosen = choices_of(choices + place * row, row, width, 0, n);
        const auto read = [&](const std::uint8_t* pad, std::uint8_t* out) {
            ring::unpack(tables, n, entries, table.data());
            tables += ring::packed_bytes(n, entries);
            for (std::size_t i = 0; i < n; ++i) table[i] >>= chosen[i];
            pack_row(table.data(), n, 0, out);
            for (std::size_t i = 0; i < row; ++i) out[i] ^= pad[i];
        };
        read(pads + 2 * digit * row, greater + digit * row);
        if (shape.equals[digit]) {
            read(pads + (2 * digit + 1) * row, equal + digit * row);
        } else {
            std::memset(equal + digit * row, 0, row);
        }
    });
}

void bit_pads_send(HashKey key, std::uint64_t first_row, std::uint64_t first_group, std::size_t rows, std::size_t elements,
                   const Delta& delta, const Block* q, std::uint8_t* zero, std::uint8_t* one, unsigned threads) {
    parallel_for(rows, threads, [&](std::size_t first, std::size_t last) {
        Words h0(elements), h1(elements);
        for (std::size_t r = first; r < last; ++r) {
            DEEPREDUCE_PICK(ot).hash(key.value, number_of(first_row + r, first_group), elements / group_size, q + r * elements,
                                     &delta.value, h0.data(), h1.data());
            pack_two(h0, elements, zero + r * elements / 4);
            pack_two(h1, elements, one + r * elements / 4);
        }
    });
}

void bit_pads_receive(HashKey key, std::uint64_t first_row, std::uint64_t first_group, std::size_t rows, std::size_t elements,
                      const Block* t, std::uint8_t* chosen, unsigned threads) {
    parallel_for(rows, threads, [&](std::size_t first, std::size_t last) {
        Words hashed(elements);
        for (std::size_t r = first; r < last; ++r) {
            DEEPREDUCE_PICK(ot).hash(key.value, number_of(first_row + r, first_group), elements / group_size, t + r * elements,
                                     nullptr, hashed.data(), nullptr);
            pack_two(hashed, elements, chosen + r * elements / 4);
        }
    });
}

void select_pads_send(HashKey key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, std::size_t elements,
                      const Delta& delta, const Block* q, std::uint64_t* pads, unsigned threads) {
    // Combination c is offset by c(x) Delta, c read as a polynomial over GF(2).
    Block offsets[1u << most_selectors] = {};
    Block power = delta.value;
    for (unsigned j = 0; j < selectors; ++j, power = times_x(power)) {
        for (unsigned c = 0; c < 1u << selectors; ++c) {
            if (c >> j & 1) offsets[c] = offsets[c] ^ power;
        }
    }
    parallel_for(elements / group_size, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, count = (last - first) * group_size;
        SecretVector<Block> joined(count);
        for (unsigned c = 0; c < 1u << selectors; c += 2) {
            for (std::size_t i = 0; i < count; ++i) joined[i] = combined(q, selectors, elements, from + i) ^ offsets[c];
            DEEPREDUCE_PICK(ot).hash(key.value, number_of(row, first_group + first), last - first, joined.data(), &delta.value,
                                     pads + c * elements + from, pads + (c + 1) * elements + from);
        }
    });
    wipe(offsets, sizeof offsets);
    wipe(&power, sizeof power);
}

void select_pads_receive(HashKey key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, std::size_t elements,
                         const Block* t, std::uint64_t* pads, unsigned threads) {
    parallel_for(elements / group_size, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size, count = (last - first) * group_size;
        SecretVector<Block> joined(count);
        for (std::size_t i = 0; i < count; ++i) joined[i] = combined(t, selectors, elements, from + i);
        DEEPREDUCE_PICK(ot).hash(key.value, number_of(row, first_group + first), last - first, joined.data(), nullptr, pads + from,
                                 nullptr);
    });
}

void elements_mask(const ElementShape& shape, const std::uint64_t* b, const std::uint8_t* sign, const std::uint8_t* carry,
                   const std::uint8_t* moved_sign, const std::uint8_t* moved_carry, const std::uint8_t* masked_sign,
                   const std::uint64_t* u, const std::uint64_t* rho, const std::uint64_t* pads, std::uint64_t* out) {
    const std::uint64_t ring = ring::mask(shape.ring_bits), n = shape.elements;
    const std::uint64_t wrap = ring::power(shape.width);
    // What each combination of the client's bits turns.
    Flags outcome(n), raise(n), sides(n);
    Words high(n);
    expand(sign, n, outcome.data());
    expand(masked_sign, n, sides.data());
    {
        const Flags moved = expanded(moved_sign, n);
        for (std::size_t i = 0; i < n; ++i) {
            outcome[i] ^= moved[i];
            sides[i] ^= moved[i];
            high[i] = ring::shift_share(b[i], shape.ring_bits, shape.shift, shape.width);
        }
    }
    if (shape.carries()) {
        const Flags moved = expanded(moved_carry, n);
        expand(carry, n, raise.data());
        for (std::size_t i = 0; i < n; ++i) raise[i] ^= moved[i];
    }
    for (unsigned slot = 0; slot < 1u << shape.selectors(); ++slot) {
        // The slot's combination before the moves: sign, carry (if there is one), client negative.
        const auto slot_sign = static_cast<std::uint8_t>(slot & 1);
        const auto slot_carry = static_cast<std::uint8_t>(shape.carries() ? slot >> 1 & 1 : 0);
        const std::uint64_t both = slot >> (1 + shape.carries()) & 1 ? wrap : 0;
        const std::uint64_t* pad = pads + slot * n;
        std::uint64_t* to = out + slot * n;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t positive = spread(outcome[i] ^ slot_sign), up = raise[i] ^ slot_carry;
            const std::uint64_t element =
                ((high[i] + up + (both & -(high[i] >> 63))) & positive) + negate_if(u[i], spread(sides[i] ^ slot_sign));
            to[i] = ((element - rho[i]) ^ pad[i]) & ring;
        }
    }
}

void elements_open(const ElementShape& shape, const std::uint64_t* a, const std::uint8_t* sign, const std::uint8_t* masked_sign,
                   const std::uint8_t* chosen, const std::uint64_t* w, const std::uint64_t* mask, const std::uint64_t* pad,
                   const std::uint64_t* elements, std::uint64_t* out) {
    const std::uint64_t ring = ring::mask(shape.ring_bits), n = shape.elements;
    const Flags open = choices_of(chosen, n / 8, shape.selectors(), 0, n);
    const Flags mine = expanded(sign, n), other = expanded(masked_sign, n);
    Words found(n);
    for (std::uint64_t slot = 0; slot < 1u << shape.selectors(); ++slot) {
        const std::uint64_t* from = elements + slot * n;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint64_t differs = open[i] ^ slot;  // 0 for the one to open
            found[i] |= from[i] & (0 - ((differs - 1) >> 63));
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        // s a_h for s = sign + masked_sign + lambda (xor), of which lambda a_h is shared as u + w.
        const std::uint64_t high = ring::shift_share(a[i], shape.ring_bits, shape.shift, shape.width);
        const std::uint64_t turn = spread(mine[i] ^ other[i]);
        out[i] = ((found[i] ^ pad[i]) + (high & turn) + negate_if(w[i], turn) - mask[i]) & ring;
    }
}

}  // namespace deepreduce::ot
