// Correlated OT extension: a few public-key operations once, then millions of OTs from AES.
//
// SoftSpoken OT (Roy, CRYPTO 2022) over GGM trees with 2^k leaves, semi-honest: 128 / k bits of communication and
// 2^k / k * 128 bits of AES per OT. k = 1 is IKNP (Ishai, Kilian, Nissim, Petrank, CRYPTO 2003), the simple reference.
//
// The sender holds Delta and gets q_i, the receiver has choice bits c_i and gets t_i = q_i xor c_i Delta. State only
// moves forward: a stream that is expanded twice would reveal the choice bits, so it can be neither copied nor stored,
// and every call of `extend` takes tiles of its own.
//
// Threads: both sides expand the same tiles in the same order, so one thread at a time may call `extend` of an object
// and must wait for its message to be sent before the next call. Calls that overlap by mistake still use different tiles
// (an atomic counter): the parties would disagree, and nothing would be revealed. Constructors and destructors are for
// one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/block.hpp"

namespace deepreduce::ot {

inline constexpr std::size_t base_ots = 128;
// A public salt of the GGM trees, then both sides of every level.
inline constexpr std::size_t set_up_bytes = (1 + base_ots * 2) * sizeof(Block);

// OTs are made in blocks of 128 (one transposed matrix).
inline constexpr std::size_t rounded(std::size_t count) { return (count + 127) / 128 * 128; }
// Bytes from receiver to sender for `count` OTs (a multiple of 128).
inline constexpr std::size_t correction_bytes(std::size_t count, unsigned k) { return count / 8 * (128 / k); }

class Receiver {
  public:
    // pads: the two keys of every base OT, in which the receiver of the extension is the sender. Writes the message of
    // set_up_bytes for the other side. Throws std::invalid_argument unless k is 1, 2 or 4.
    Receiver(unsigned k, std::span<const Block, 2 * base_ots> pads, std::uint8_t* set_up);
    ~Receiver();
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

    // choices: count / 8 bytes; correction: correction_bytes(count, k) bytes, to be sent; out: count blocks.
    void extend(std::size_t count, const std::uint8_t* choices, std::uint8_t* correction, Block* out, unsigned threads);
    unsigned k() const { return k_; }

  private:
    unsigned k_;
    std::uint64_t nonce_;  // of the leaves' streams: half of the salt
    std::atomic<std::uint64_t> tile_{0};  // reserved before it is expanded: two threads never expand one tile
    std::vector<Block> leaves_;  // [128 / k][2^k]
};

class Sender {
  public:
    // pads: the key of every base OT that the bit of Delta chose; set_up: the receiver's message.
    Sender(unsigned k, Delta delta, std::span<const Block, base_ots> pads, const std::uint8_t* set_up);
    ~Sender();
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    void extend(std::size_t count, const std::uint8_t* correction, Block* out, unsigned threads);
    const Delta& delta() const { return delta_; }
    unsigned k() const { return k_; }

  private:
    unsigned k_;
    std::uint64_t nonce_;  // of the leaves' streams: half of the salt
    Delta delta_;
    std::atomic<std::uint64_t> tile_{0};  // reserved before it is expanded: two threads never expand one tile
    std::vector<Block> leaves_;  // [128 / k][2^k], leaf y of a tree being the receiver's leaf y xor Delta's bits; 0 is unknown
};

}  // namespace deepreduce::ot
