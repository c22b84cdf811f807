#include "ot/softspoken.hpp"

#include <stdexcept>
#include <string>

#include "base/aes.hpp"
#include "base/dispatch.hpp"
#include "base/parallel.hpp"
#include "base/random.hpp"
#include "ot/kernels.hpp"

namespace deepreduce::ot {
namespace {

unsigned checked(unsigned k) {
    if (k != 1 && k != 2 && k != 4) throw std::invalid_argument("k must be 1, 2 or 4, not " + std::to_string(k));
    return k;
}

// The doubling generator of the GGM tree: AES, fed forward, under two public keys that a salt of the connection gives, so
// that no one can attack many connections at the price of one.
class Doubling {
  public:
    explicit Doubling(Block salt) { aes_ctr(Seed{salt}, 0, 0, keys_, 2); }

    Block child(Block node, unsigned side) const {
        Block image;
        aes_ctr(Seed{keys_[side]}, node.lo, node.hi, &image, 1);
        return image ^ node;
    }

  private:
    Block keys_[2];
};

Block masked(Block value, std::uint64_t mask) { return {value.lo & mask, value.hi & mask}; }

unsigned bit_of(Block value, std::size_t i) { return ((i < 64 ? value.lo : value.hi) >> (i % 64)) & 1; }

// Splits `count` OTs over threads at tile boundaries and runs part(first tile, tiles, first OT, OTs).
template <class Part>
void over_tiles(std::size_t count, unsigned threads, Part&& part) {
    const std::size_t tiles = (count + tile_ots - 1) / tile_ots;
    parallel_for(tiles, threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * tile_ots;
        part(first, last - first, from, std::min(count, last * tile_ots) - from);
    });
}

void check_count(std::size_t count) {
    if (count % 128) throw std::invalid_argument("OTs come in blocks of 128, not " + std::to_string(count));
}

}  // namespace

Receiver::Receiver(unsigned k, std::span<const Block, 2 * base_ots> pads, std::uint8_t* set_up)
    : k_(checked(k)), leaves_((base_ots / k) << k) {
    const Block salt = random_block();
    std::memcpy(set_up, &salt, sizeof salt);
    nonce_ = salt.hi;
    const Doubling doubling(salt);
    std::uint8_t* message = set_up + sizeof salt;
    for (std::size_t tree = 0; tree < base_ots / k_; ++tree) {
        std::vector<Block> nodes{random_block()};
        for (unsigned level = 0; level < k_; ++level) {
            std::vector<Block> children(2 * nodes.size());
            Block sum[2] = {};
            for (std::size_t i = 0; i < nodes.size(); ++i) {
                for (unsigned side = 0; side < 2; ++side) {
                    children[2 * i + side] = doubling.child(nodes[i], side);
                    sum[side] = sum[side] ^ children[2 * i + side];
                }
            }
            // The party that chose bit d walks to side d, lacks that subtree, and must learn the sum of the other side.
            const std::size_t base = tree * k_ + (k_ - 1 - level);  // the top level decides the highest bit of the leaf number
            for (unsigned side = 0; side < 2; ++side) {
                const Block cipher = sum[side] ^ pads[2 * base + (1 - side)];
                std::memcpy(message + (2 * base + side) * sizeof cipher, &cipher, sizeof cipher);
            }
            wipe(sum, sizeof sum);
            wipe(nodes.data(), nodes.size() * sizeof(Block));
            nodes.swap(children);
        }
        std::copy(nodes.begin(), nodes.end(), leaves_.begin() + static_cast<std::ptrdiff_t>(tree << k_));
        wipe(nodes.data(), nodes.size() * sizeof(Block));
    }
}

Receiver::~Receiver() { wipe(leaves_.data(), leaves_.size() * sizeof(Block)); }

void Receiver::extend(std::size_t count, const std::uint8_t* choices, std::uint8_t* correction, Block* out, unsigned threads) {
    check_count(count);
    const std::uint64_t next = tile_.fetch_add((count + tile_ots - 1) / tile_ots);
    over_tiles(count, threads, [&](std::size_t tile, std::size_t tiles, std::size_t from, std::size_t ots) {
        DEEPREDUCE_PICK(ot).receive(leaves_.data(), nonce_, k_, next + tile, tiles, ots, choices + from / 8,
                                    correction + correction_bytes(from, k_), out + from);
    });
}

Sender::Sender(unsigned k, Delta delta, std::span<const Block, base_ots> pads, const std::uint8_t* set_up)
    : k_(checked(k)), delta_(delta), leaves_((base_ots / k) << k) {
    const std::size_t count = std::size_t{1} << k_;
    Block salt;
    std::memcpy(static_cast<void*>(&salt), set_up, sizeof salt);
    nonce_ = salt.hi;
    const Doubling doubling(salt);
    const std::uint8_t* message = set_up + sizeof salt;
    for (std::size_t tree = 0; tree < base_ots / k_; ++tree) {
        // nodes[0] of every level is the one that is unknown: children are stored by number xor the path so far, which
        // depends on Delta, so every store is a conditional exchange.
        std::vector<Block> nodes{Block{0, 0}};
        for (unsigned level = 0; level < k_; ++level) {
            const std::size_t base = tree * k_ + (k_ - 1 - level);
            const unsigned choice = bit_of(delta_.value, base);
            const std::uint64_t chosen = -static_cast<std::uint64_t>(choice);
            Block cipher[2];
            std::memcpy(static_cast<void*>(cipher), message + 2 * base * sizeof(Block), sizeof cipher);
            // The sum of the children on side 1 - choice, by the pad of `choice`.
            Block missing = masked(cipher[0], chosen) ^ masked(cipher[1], ~chosen) ^ pads[base];
            std::vector<Block> children(2 * nodes.size());
            for (std::size_t i = 1; i < nodes.size(); ++i) {
                const Block left = doubling.child(nodes[i], 0), right = doubling.child(nodes[i], 1);
                const Block swap = masked(left ^ right, chosen);
                // Relative numbering: side 0 is the side of the choice.
                children[2 * i] = left ^ swap;
                children[2 * i + 1] = right ^ swap;
                missing = missing ^ children[2 * i + 1];
            }
            children[0] = Block{0, 0};
            children[1] = missing;
            wipe(&missing, sizeof missing);
            wipe(nodes.data(), nodes.size() * sizeof(Block));
            nodes.swap(children);
        }
        std::copy(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(count),
                  leaves_.begin() + static_cast<std::ptrdiff_t>(tree << k_));
        wipe(nodes.data(), nodes.size() * sizeof(Block));
    }
}

Sender::~Sender() { wipe(leaves_.data(), leaves_.size() * sizeof(Block)); }

void Sender::extend(std::size_t count, const std::uint8_t* correction, Block* out, unsigned threads) {
    check_count(count);
    const std::uint64_t next = tile_.fetch_add((count + tile_ots - 1) / tile_ots);
    over_tiles(count, threads, [&](std::size_t tile, std::size_t tiles, std::size_t from, std::size_t ots) {
        DEEPREDUCE_PICK(ot).send(leaves_.data(), nonce_, k_, delta_.value, next + tile, tiles, ots,
                                 correction + correction_bytes(from, k_), out + from);
    });
}

}  // namespace deepreduce::ot
