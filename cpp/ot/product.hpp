// Products of a secret bit with a secret ring element from one correlated OT each (Gilboa, CRYPTO 1999; correlated as in
// Asharov, Lindell, Schneider, Zohner, CCS 2013): the bit's owner and the element's owner end with additive shares.
#pragma once

#include <cstdint>

#include "base/block.hpp"

namespace deepreduce::ot {

// The element's owner, sender of the OT. q: its OT outputs [16 groups]; values: ring elements. Writes the message e and the
// share -H(q), all mod 2^bits. Constant time.
void product_send(HashKey key, std::uint64_t first_group, std::size_t groups, unsigned bits, const Delta& delta, const Block* q,
                  const std::uint64_t* values, std::uint64_t* message, std::uint64_t* share, unsigned threads);

// The bit's owner. t: its OT outputs; choices: one bit per OT. Writes H(t) + choice * e mod 2^bits. Constant time.
void product_receive(HashKey key, std::uint64_t first_group, std::size_t groups, unsigned bits, const Block* t,
                     const std::uint8_t* choices, const std::uint64_t* message, std::uint64_t* share, unsigned threads);

}  // namespace deepreduce::ot
