#include "gc/fused.hpp"

#include <vector>

#include "base/dispatch.hpp"
#include "base/parallel.hpp"
#include "gc/inputs.hpp"
#include "gc/kernels.hpp"
#include "ring/element.hpp"

namespace deepreduce::gc {
namespace {

// All ones where bit i of the word is 1.
std::uint64_t select(std::uint16_t word, std::size_t i) { return -static_cast<std::uint64_t>((word >> i) & 1); }

// x where the mask is 0, -x where it is all ones.
std::uint64_t negate_if(std::uint64_t x, std::uint64_t mask) { return (x ^ mask) - mask; }

}  // namespace

void sign_garble(const SignShape& shape, const Delta& delta, HashKey key, Seed seed, const Block* client_zero, Block* tables,
                 std::uint64_t* pads, std::uint16_t* lambda, std::uint16_t* client_color) {
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size;
        DEEPREDUCE_PICK(gc).sign_garble(delta.value, key.value, seed.value, shape.first_group + first, last - first, shape.width,
                                        client_zero + from * shape.width, tables + from * (shape.width - 1) * 2, pads + from * 4,
                                        lambda + first, client_color + first);
        // The circuit's 1 means negative and the label of 0 has this color: v = s xor lambda for lambda its complement.
        for (std::size_t g = first; g < last; ++g) lambda[g] = static_cast<std::uint16_t>(~lambda[g]);
    });
}

void sign_respond(const SignShape& shape, const Delta& delta, Seed seed, const std::uint64_t* b, const std::uint64_t* pads,
                  const std::uint16_t* lambda, const std::uint16_t* client_color, const std::uint64_t* u,
                  const std::uint64_t* rho, Block* labels, std::uint64_t* elements) {
    const std::uint64_t ring = ring::mask(shape.ring_bits), wrap = ring::power(shape.width);
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        const std::size_t from = first * group_size;
        encode_shares(delta, seed, shape.first_group + first, last - first, shape.width, b + from, labels + from * shape.width);
        for (std::size_t g = first; g < last; ++g) {
            for (std::uint64_t v = 0; v < 2; ++v) {
                for (std::uint64_t color = 0; color < 2; ++color) {
                    const std::size_t slot = (g * 4 + 2 * v + color) * group_size;
                    for (std::size_t i = 0; i < group_size; ++i) {
                        const std::size_t at = g * group_size + i;
                        const std::uint64_t positive = select(lambda[g], i) ^ -v;
                        const std::uint64_t client_negative = select(client_color[g], i) ^ -color;
                        const std::uint64_t server_negative = -(b[at] >> 63);
                        const std::uint64_t sum = b[at] + (wrap & client_negative & server_negative);
                        const std::uint64_t element = (sum & positive) + negate_if(u[at], -v) - rho[at];
                        elements[slot + i] = (element ^ pads[slot + i]) & ring;
                    }
                }
            }
        }
    });
}

void sign_evaluate(const SignShape& shape, HashKey key, const Block* client_labels, const Block* server_labels,
                   const Block* tables, const std::uint64_t* elements, const std::uint64_t* a, const std::uint64_t* w,
                   const std::uint64_t* mask, std::uint64_t* out) {
    const std::uint64_t ring = ring::mask(shape.ring_bits);
    parallel_for(shape.groups, shape.threads, [&](std::size_t first, std::size_t last) {
        std::vector<std::uint16_t> colors(2 * (last - first));
        std::uint16_t *sign = colors.data(), *client = sign + (last - first);
        const std::size_t from = first * group_size;
        DEEPREDUCE_PICK(gc).sign_evaluate(key.value, shape.first_group + first, last - first, shape.width,
                                          client_labels + from * shape.width, server_labels + from * shape.width,
                                          tables + from * (shape.width - 1) * 2, out + from, sign, client);
        for (std::size_t g = first; g < last; ++g) {
            const std::uint64_t* four = elements + g * 4 * group_size;
            for (std::size_t i = 0; i < group_size; ++i) {
                const std::size_t at = g * group_size + i;
                const std::uint64_t v = select(sign[g - first], i), color = select(client[g - first], i);
                const std::uint64_t element = (four[i] & ~v & ~color) | (four[group_size + i] & ~v & color) |
                                              (four[2 * group_size + i] & v & ~color) | (four[3 * group_size + i] & v & color);
                out[at] = ((element ^ out[at]) + (a[at] & v) + negate_if(w[at], v) - mask[at]) & ring;
            }
        }
    });
}

}  // namespace deepreduce::gc
