// Comparison of a number of the server's, known online, with one of the client's, known offline, by tables of precomputed
// oblivious transfers; and the arithmetic that turns the shared outcome into a ReLU or a shift (docs/reference/protocol.md,
// "ot").
//
// Vectors have a multiple of 16 elements. Numbers are cut into digits of 1..5 bits, the least significant first. Rows of
// bits are packed, one bit per element; a digit's choices are as many rows as it has bits. All functions are constant time
// in everything but shapes, and keep no state: the caller sees to it that pads are used once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/block.hpp"

namespace deepreduce::ot {

inline constexpr unsigned widest_digit = 5;    // bits: both tables of a digit fit in a word
inline constexpr unsigned most_selectors = 3;  // bits that choose one of the elements

struct DigitShape {
    const std::uint8_t* widths;  // bits of each digit
    const std::uint8_t* equals;  // whether equality is needed besides "greater"
    std::size_t digits;
    std::size_t elements;

    std::size_t bits() const;           // of all digits together
    std::size_t table_bytes() const;    // of the client's message
    std::size_t opening_bytes() const;  // of the server's message
    std::size_t row_bytes() const { return elements / 8; }
};

// Hash keys: row r of a vector's transfers is hashed under the numbers (r << row_shift) + first_group ...
inline constexpr unsigned row_shift = 40;

// Client, offline. q: its OT outputs [bits][elements], rows from first_row on; greater, equal: its own shares [digits] of rows
// (uniform). Writes the pads of all table entries with these shares added, in the layout of the message.
void table_pads_send(HashKey key, std::uint64_t first_row, std::uint64_t first_group, const DigitShape& shape,
                     const Delta& delta, const Block* q, const std::uint8_t* greater, const std::uint8_t* equal,
                     std::uint8_t* pads, unsigned threads);

// Server, offline. t: its OT outputs for the rows of `choices`. Writes the pads of the one entry it may open, [digits] of
// pairs of rows.
void table_pads_receive(HashKey key, std::uint64_t first_row, std::uint64_t first_group, const DigitShape& shape,
                        const Block* t, const std::uint8_t* choices, std::uint8_t* pads, unsigned threads);

// Server, online. Digits of its numbers less its choices.
void table_open(const DigitShape& shape, const std::uint64_t* numbers, const std::uint8_t* choices, std::uint8_t* opening);

// Client, online. Tables of [entry > digit] and [entry == digit] of its numbers, moved by the opening, under the pads, over
// which they are written.
void table_answer(const DigitShape& shape, const std::uint64_t* numbers, const std::uint8_t* opening, std::uint8_t* pads);

// Server, online. Its shares of [its digit > the client's] and [equal], [digits] of rows each.
void table_read(const DigitShape& shape, const std::uint8_t* tables, const std::uint8_t* choices, const std::uint8_t* pads,
                std::uint8_t* greater, std::uint8_t* equal);

// Two random bits of each transfer, [rows][2] rows: for either choice at the sender, for its own at the receiver.
void bit_pads_send(HashKey key, std::uint64_t first_row, std::uint64_t first_group, std::size_t rows, std::size_t elements,
                   const Delta& delta, const Block* q, std::uint8_t* zero, std::uint8_t* one, unsigned threads);
void bit_pads_receive(HashKey key, std::uint64_t first_row, std::uint64_t first_group, std::size_t rows, std::size_t elements,
                      const Block* t, std::uint8_t* chosen, unsigned threads);

// A random word for each of 2^selectors combinations of as many transfers, [combination][elements], or the one chosen.
void select_pads_send(HashKey key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, std::size_t elements,
                      const Delta& delta, const Block* q, std::uint64_t* pads, unsigned threads);
void select_pads_receive(HashKey key, std::uint64_t row, std::uint64_t first_group, unsigned selectors, std::size_t elements,
                         const Block* t, std::uint64_t* pads, unsigned threads);

// The elements of ReLUs.
struct ElementShape {
    unsigned ring_bits;  // l
    unsigned shift;      // f
    unsigned width;      // n
    std::size_t elements;

    bool carries() const { return shift != 0; }  // whether there is a carry of the low bits
    unsigned selectors() const { return 2u + carries(); }
};

// Server, online. b: its shares; sign ([y >= 0]) and carry: its shares of the outcome; moved_sign, moved_carry: the client's
// choices as announced; masked_sign: its sign share xor lambda; u: its share of lambda a_h. Writes the masked elements
// [2^selectors][elements], mod 2^l.
void elements_mask(const ElementShape& shape, const std::uint64_t* b, const std::uint8_t* sign, const std::uint8_t* carry,
                   const std::uint8_t* moved_sign, const std::uint8_t* moved_carry, const std::uint8_t* masked_sign,
                   const std::uint64_t* u, const std::uint64_t* rho, const std::uint64_t* pads, std::uint64_t* out);

// Client, online. a: its shares; sign: its share of the outcome; chosen: [selectors] rows of the pads that it can open; w: its
// share of lambda a_h; mask: r'. Writes what it returns.
void elements_open(const ElementShape& shape, const std::uint64_t* a, const std::uint8_t* sign,
                   const std::uint8_t* masked_sign, const std::uint8_t* chosen, const std::uint64_t* w, const std::uint64_t* mask, const std::uint64_t* pad,
                   const std::uint64_t* elements, std::uint64_t* out);

}  // namespace deepreduce::ot
