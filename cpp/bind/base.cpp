// Randomness and the generator, for tests and for the private half's masks.
#include "base/aes.hpp"
#include "base/random.hpp"
#include "base/residue.hpp"
#include "bind/arrays.hpp"
#include "bind/register.hpp"

namespace deepreduce::bind {

using nb::literals::operator""_a;

void register_base(nb::module_& m) {
    m.def(
        "aes_ctr",
        [](In<std::uint8_t> seed, std::uint64_t first, std::uint64_t high, std::size_t count) {
            const Block key = block_of(seed, "seed");
            auto out = make<std::uint8_t>({count, 16});
            {
                nb::gil_scoped_release release;
                aes_ctr(Seed{key}, first, high, reinterpret_cast<Block*>(out.data()), count);
            }
            return out;
        },
        "seed"_a, "first"_a, "high"_a, "count"_a,
        "uint8 [count, 16]: AES-128 under `seed` of the blocks (first + i, high), little-endian words.");
    m.def(
        "random_ring",
        [](std::size_t count, unsigned bits) {
            if (bits < 1 || bits > 64) throw std::invalid_argument("bits must be 1..64, not " + std::to_string(bits));
            auto out = make<std::uint64_t>({count});
            if (count) {  // without values there may be no memory to write to
                nb::gil_scoped_release release;
                auto* values = out.data();
                const std::size_t blocks = (count + 1) / 2;
                std::vector<Block> stream(blocks);
                const Seed seed = random_seed();
                aes_ctr(seed, 0, seed.nonce, stream.data(), blocks);
                std::memcpy(values, stream.data(), count * 8);
                wipe(stream.data(), blocks * sizeof(Block));
                const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
                for (std::size_t i = 0; i < count; ++i) values[i] &= mask;
            }
            return out;
        },
        "count"_a, "bits"_a, "uint64 [count]: uniform elements of Z_2^bits from a fresh seed of the operating system.");
    m.def("wipe_residue", [] { wipe_residue(); }, "Overwrites what kernels have left in registers and on the stack of this thread.");
    m.def(
        "bench_aes",
        [](std::size_t blocks) {
            constexpr std::size_t chains = 2 * group_size;
            if (blocks % chains) {
                throw std::invalid_argument("blocks must be a multiple of 32, not " + std::to_string(blocks));
            }
            Block sum;
            {
                nb::gil_scoped_release release;
                sum = aes_chains(Block{0, 0}, blocks / chains);
            }
            auto out = make<std::uint8_t>({16});
            std::memcpy(out.data(), &sum, sizeof sum);
            return out;
        },
        "blocks"_a,
        "Encrypts `blocks` blocks (a multiple of 32) in registers alone, 32 chains of AES-128 under the key zero that start\n"
        "from (0, 0) .. (31, 0); uint8 [16] is the sum of their ends. For timing the path in use.");
}

}  // namespace deepreduce::bind
