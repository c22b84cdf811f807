#include "he/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/mman.h>

#include "base/declassify.hpp"
#include "base/parallel.hpp"
#include "ring/polynomials.hpp"

namespace deepreduce::he {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;

// Gigabytes of weights are streamed once per inference: large pages save the walks.
u64* allocate(std::size_t words) {
    const std::size_t alignment = words * 8 >= huge_page ? huge_page : 64;
    const std::size_t bytes = (words * 8 + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, bytes);
    if (!data) throw std::bad_alloc();
    if (alignment == huge_page) madvise(data, bytes, MADV_HUGEPAGE);  // a wish: failing changes the speed only
    return static_cast<u64*>(data);
}

std::string text(double x) { return std::to_string(x); }

}  // namespace

Weights::Weights(unsigned ring_bits, const Shape& shape, const std::int16_t* w, unsigned threads, bool cached)
    : parameters_(he::parameters(ring_bits)), shape_(shape) {
    check_shape();
    while ((std::size_t{1} << merges_) < shape.packed) ++merges_;
    measure(w);
    const std::size_t group_outputs = shape.outputs / shape.groups, group_inputs = shape.inputs / shape.groups;
    for (std::size_t b = 0; b < shape.blocks_out(); ++b) {
        const std::size_t first_output = b * shape.block_outputs;
        const std::size_t last_output = std::min(first_output + shape.block_outputs, shape.outputs) - 1;
        const std::size_t first_channel = first_output / group_outputs * group_inputs;
        const std::size_t last_channel = (last_output / group_outputs + 1) * group_inputs - 1;
        first_input_.push_back(first_channel / shape.block_channels);
        inputs_.push_back(last_channel / shape.block_channels + 1 - first_input_.back());
        start_.push_back(words_);
        words_ += inputs_.back() * parameters_->primes * parameters_->degree;
        largest_ = std::max(largest_, inputs_.back());
    }
    const std::size_t n = parameters_->degree;
    shifts_.resize(merges_ * parameters_->primes * n);
    for (std::size_t merge = 0; merge < merges_; ++merge) {
        for (std::size_t k = 0; k < parameters_->primes; ++k) {
            u64* const x = shifts_.data() + (merge * parameters_->primes + k) * n;
            x[spacing(merge)] = parameters_->ntts[k].prime.r.value;
            ring::polynomial_kernels().forward(x, parameters_->ntts[k]);
        }
    }
    if (!cached) {
        weights_.assign(w, w + shape.outputs * group_inputs * shape.kernel_h * shape.kernel_w);
        return;
    }
    data_.reset(allocate(words_));
    parallel_for(shape.blocks_out(), threads, [&](std::size_t first, std::size_t last) {
        for (std::size_t b = first; b < last; ++b) transform(w, b, data_.get() + start_[b]);
    });
}

const u64* Weights::block(std::size_t b, u64* scratch) const {
    if (data_) return data_.get() + start_[b];
    transform(weights_.data(), b, scratch);
    return scratch;
}

void Weights::check_shape() const {
    const Shape& s = shape_;
    const auto refuse = [](const std::string& why) { throw std::invalid_argument("weights: " + why); };
    for (std::size_t side : {s.outputs, s.inputs, s.groups, s.kernel_h, s.kernel_w, s.area_h, s.area_w,
                             s.block_channels, s.block_outputs, s.packed}) {
        if (side < 1 || side > (1u << 20)) refuse("a size is " + std::to_string(side) + ", must be 1 to 2^20");
    }
    if (s.outputs % s.groups || s.inputs % s.groups)
        refuse("outputs and inputs must be multiples of groups = " + std::to_string(s.groups));
    if (s.kernel_h > s.area_h || s.kernel_w > s.area_w) refuse("the kernel is larger than the area");
    const double size = static_cast<double>(s.block_outputs) * s.block_channels * s.area_h * s.area_w;
    if (size > static_cast<double>(parameters_->degree)) {
        refuse("block_outputs * block_channels * area is " + text(size) +
               ", must be at most N = " + std::to_string(parameters_->degree) + "; use smaller blocks or tiles");
    }
    if ((s.packed & (s.packed - 1)) || s.block_channels % s.packed) {
        refuse("packed is " + std::to_string(s.packed) + ", must be a power of two that divides block_channels = " +
               std::to_string(s.block_channels));
    }
    if (s.blocks_in() > ring::max_dot_terms - 1) {
        refuse("there are " + std::to_string(s.blocks_in()) + " channel blocks, must be at most " +
               std::to_string(ring::max_dot_terms - 1));
    }
}

// Norms and the noise bound. All arithmetic on weights is branch-free.
void Weights::measure(const std::int16_t* w) {
    const Parameters& ps = *parameters_;
    const std::size_t fan_in = shape_.inputs / shape_.groups * shape_.kernel_h * shape_.kernel_w;
    const double positions = static_cast<double>(shape_.area_h - shape_.kernel_h + 1) *
                             static_cast<double>(shape_.area_w - shape_.kernel_w + 1);
    u64 largest = 0;  // sum of |w| over one block: each of its outputs has the noise of all of its weights
    for (std::size_t first = 0; first < shape_.outputs; first += shape_.block_outputs) {
        const std::size_t outputs = std::min(shape_.block_outputs, shape_.outputs - first);
        u64 squares = 0, sum = 0;
        for (std::size_t i = 0; i < outputs * fan_in; ++i) {
            const i64 value = w[first * fan_in + i], sign = value >> 63;
            squares += static_cast<u64>(value * value);
            sum += static_cast<u64>((value ^ sign) - sign);
        }
        // By way of a signed number: GCC converts unsigned ones with a branch.
        norm_squared_ += positions * static_cast<double>(outputs) * static_cast<double>(static_cast<i64>(squares));
        largest = std::max(largest, sum);
    }
    const double n = static_cast<double>(ps.degree), eta = lattice::error_eta;
    // Of packing: for each merge the sum of `primes` N residues times errors of a key, which do not depend on each
    // other. An error is a sum of 42 signs' halves: Hoeffding's bound for those, probability 2^-128.
    const double packing = std::ldexp(1.0, lattice::prime_bits) * std::sqrt(static_cast<double>(merges_ * ps.primes) * n *
                                                                            eta * 129 * std::log(2.0));
    // Before the switch: errors and rounded encodings of the upload, the encryption of zero (u e + s e1), the rounded
    // mask, the flood.
    const double before = static_cast<double>(static_cast<i64>(largest)) * (eta + 0.5) + 2 * n * eta + 0.5 + packing +
                          4 * std::ldexp(1.0, static_cast<int>(ps.set.flood_bits));
    // After it: the roundings of the switch itself (c0, and c1 times a ternary secret), and the bits cut off. Those of
    // c1 are uniform, as c1 is, and independent of the secret: Hoeffding's bound with N terms, probability 2^-128.
    const double cut_c0 = std::ldexp(0.5, static_cast<int>(ps.c0_dropped)),
                 cut_c1 = std::ldexp(0.5, static_cast<int>(ps.c1_dropped));
    const double after = before / static_cast<double>(lattice::primes[ps.primes - 1]) + 0.5 * (1 + n) + cut_c0 +
                         cut_c1 * std::sqrt(2 * n * 129 * std::log(2.0));
    worst_noise_ = after / (std::ldexp(static_cast<double>(ps.response_modulus), -static_cast<int>(ps.ring_bits)) / 2);
    declassify(&worst_noise_, sizeof worst_noise_);  // the server's own set-up: it refuses such weights aloud
    if (!(worst_noise_ < 1)) {
        throw std::invalid_argument(
            "weights: the noise may reach " + text(worst_noise_) +
            " of what decryption bears, must stay below 1; use smaller weights or fewer inputs");
    }
}

void Weights::transform(const std::int16_t* w, std::size_t b, u64* out) const {
    const Parameters& ps = *parameters_;
    AlignedVector<u64> evaluations(ps.degree);
    std::vector<std::int32_t> small(ps.degree);
    u64* const polynomial = evaluations.data();
    std::int32_t* const coefficients = small.data();
    const auto& poly = ring::polynomial_kernels();
    const Shape& s = shape_;
    const std::size_t area = s.area_h * s.area_w, group_inputs = s.inputs / s.groups,
                      group_outputs = s.outputs / s.groups;
    const std::size_t kernel = s.kernel_h * s.kernel_w;
    for (std::size_t j = 0; j < inputs_[b]; ++j) {
        std::fill(coefficients, coefficients + ps.degree, 0);
        for (std::size_t m = 0; m < s.block_outputs && b * s.block_outputs + m < s.outputs; ++m) {
            const std::size_t output = b * s.block_outputs + m, group = output / group_outputs;
            for (std::size_t c = 0; c < s.block_channels; ++c) {
                const std::size_t channel = (first_input_[b] + j) * s.block_channels + c;
                if (channel < group * group_inputs || channel >= (group + 1) * group_inputs) continue;
                const std::int16_t* const from = w + (output * group_inputs + channel - group * group_inputs) * kernel;
                for (std::size_t u = 0; u < s.kernel_h; ++u) {
                    for (std::size_t v = 0; v < s.kernel_w; ++v) {
                        const std::size_t place = m * area + (s.kernel_h - 1 - u) * s.area_w + s.kernel_w - 1 - v;
                        const std::int32_t value = from[u * s.kernel_w + v];
                        if (place == 0 && c > 0) {
                            coefficients[ps.degree - c] = -value;
                        } else {
                            coefficients[s.block_channels * place - c] = value;
                        }
                    }
                }
            }
        }
        for (std::size_t k = 0; k < ps.primes; ++k) {
            const ring::Prime& prime = ps.ntts[k].prime;
            for (std::size_t i = 0; i < ps.degree; ++i) {
                const u64 value = static_cast<u64>(i64{coefficients[i]});
                polynomial[i] = value + (prime.p & (u64{0} - (value >> 63)));
            }
            poly.scale(polynomial, prime.r, ps.degree, prime);
            poly.forward(polynomial, ps.ntts[k]);
            for (std::size_t c = 0; c < chunks(); ++c) {
                std::memcpy(out + ((k * chunks() + c) * inputs_[b] + j) * 32, polynomial + c * 32, 32 * 8);
            }
        }
    }
}

bool Weights::is_output(std::size_t r, std::size_t position) const {
    const Shape& s = shape_;
    const std::size_t area = s.area_h * s.area_w, apart = s.block_channels / s.packed;
    const std::size_t place = position / s.block_channels, offset = position % s.block_channels;
    const std::size_t m = place / area, row = place % area / s.area_w, column = place % area % s.area_w;
    if (offset % apart || m >= s.block_outputs || row < s.kernel_h - 1 || column < s.kernel_w - 1) return false;
    return (r * s.packed + offset / apart) * s.block_outputs + m < s.outputs;
}

void check_norm(unsigned ring_bits, double norm_squared, double outputs) {
    const lattice::Set& set = he::parameters(ring_bits)->set;
    const double log2_norm = 0.5 * std::log2(norm_squared + lattice::zero_noise_norm(set, outputs));
    if (!(norm_squared >= 0) || !(outputs >= 0) || log2_norm > set.max_log2_norm) {
        throw std::invalid_argument("weights: sqrt(B) is 2^" + text(log2_norm) + ", must be at most 2^" +
                                    text(set.max_log2_norm) + " for the flood of " + set.name +
                                    "; use smaller weights or a ring above 32 bits");
    }
}

}  // namespace deepreduce::he
