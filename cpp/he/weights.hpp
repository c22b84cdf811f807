// A linear operation's weights as the server multiplies by them: evaluations of the weight polynomials, cached, or
// computed anew for every response where memory is short.
#pragma once

#include <cstdlib>
#include <memory>

#include "he/parameters.hpp"

namespace deepreduce::he {

// The operation on one tile: a valid convolution of stride 1 of `inputs` channels of area_h x area_w with `outputs`
// kernels of kernel_h x kernel_w in `groups` groups. A polynomial carries Cw = block_channels channels, a product M =
// block_outputs outputs, M Cw area_h area_w <= N, and a response P = `packed` products, a power of two that divides Cw.
//
//   upload j:               coefficient c + Cw (i Aw + k)                                  = x[j Cw + c, i, k]
//   weights (b, j):         coefficient Cw (m A + (kh-1-u) Aw + (kw-1-v)) - c              = w[b M + m, channel, u, v]
//   product b, output:      coefficient Cw (m A + (i+kh-1) Aw + (k+kw-1))                  = y[b M + m, i, k]
//   response r, output:     that of product r P + s, plus s Cw / P
//
// A negative coefficient is that of X^N = -1 times it.
struct Shape {
    std::size_t outputs, inputs, groups, kernel_h, kernel_w, area_h, area_w, block_channels, block_outputs, packed = 1;

    std::size_t blocks_in() const { return (inputs + block_channels - 1) / block_channels; }
    std::size_t blocks_out() const { return (outputs + block_outputs - 1) / block_outputs; }
    std::size_t responses() const { return (blocks_out() + packed - 1) / packed; }
};

class Weights {
public:
    // w is [outputs][inputs / groups][kernel_h][kernel_w]. Throws std::invalid_argument for a shape that does not fit,
    // or for weights whose noise could exceed what decryption bears. Constant time in the values of w, which are copied
    // unless their evaluations are cached.
    Weights(unsigned ring_bits, const Shape& shape, const std::int16_t* w, unsigned threads, bool cached = true);

    const Parameters& parameters() const { return *parameters_; }
    const Shape& shape() const { return shape_; }

    // The blocks of channels that output block b reads: those whose groups meet.
    std::size_t first_input(std::size_t b) const { return first_input_[b]; }
    std::size_t inputs(std::size_t b) const { return inputs_[b]; }
    // Evaluations [primes][chunks][inputs(b)][32] of output block b, times 2^52: the cached ones, or computed into
    // `scratch`, which has room for scratch_words().
    const u64* block(std::size_t b, u64* scratch) const;
    std::size_t scratch_words() const { return data_ ? 0 : largest_ * parameters_->primes * parameters_->degree; }
    std::size_t chunks() const { return parameters_->degree / 32; }

    // Merges on the way from a product to a response: log2 P. The first takes two products Cw / 2 coefficients apart,
    // each next one half of that; `shift(i)` are the evaluations [primes][N] of X to that power, times 2^52.
    std::size_t merges() const { return merges_; }
    std::size_t spacing(std::size_t merge) const { return shape_.block_channels >> (merge + 1); }
    const u64* shift(std::size_t merge) const {
        return shifts_.data() + merge * parameters_->primes * parameters_->degree;
    }

    // Whether coefficient `position` of response r is an output; others must not leave the server.
    bool is_output(std::size_t r, std::size_t position) const;

    // Sum over the outputs of one tile of the squared norm of their block's weights: this operation's part of B
    // (params/lattice.hpp), per tile.
    double norm_squared() const { return norm_squared_; }
    // The largest noise of any output as a part of what decryption bears (< 1, or the constructor throws): hard bounds
    // for errors and flood, and for the bits cut off c1 a bound that a coefficient exceeds with probability 2^-128.
    double worst_noise() const { return worst_noise_; }
    std::size_t memory_bytes() const { return data_ ? words_ * 8 : weights_.size() * sizeof(std::int16_t); }

private:
    void check_shape() const;
    void measure(const std::int16_t* w);
    void transform(const std::int16_t* w, std::size_t b, u64* out) const;

    std::shared_ptr<const Parameters> parameters_;
    Shape shape_;
    std::vector<std::size_t> first_input_, inputs_, start_;
    std::size_t merges_ = 0;
    AlignedVector<u64> shifts_;  // [merges][primes][N]
    std::size_t words_ = 0, largest_ = 0;  // of all blocks; inputs of the largest
    std::vector<std::int16_t> weights_;    // unless evaluations are cached
    std::unique_ptr<u64[], decltype(&std::free)> data_{nullptr, &std::free};
    double norm_squared_ = 0, worst_noise_ = 0;
};

// Throws std::invalid_argument if B = norm_squared, of so many outputs of one inference, is too large for the set's flood.
void check_norm(unsigned ring_bits, double norm_squared, double outputs);

}  // namespace deepreduce::he
