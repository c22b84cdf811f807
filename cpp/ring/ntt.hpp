// Tables of the negacyclic number-theoretic transform modulo one prime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned.hpp"
#include "ring/prime.hpp"

namespace deepreduce::ring {

// Factors as a structure of arrays: a path loads the values and the quotients of its own word size.
class Factors {
    AlignedVector<u64> storage_;

public:
    // Plain pointers for the kernels: a function of the standard library that is instantiated in a file with other
    // instructions could end up being called on a machine that lacks them.
    u64 *values, *quotients;  // of 64-bit words
    u64 *raised, *low;        // of 52-bit words

    explicit Factors(std::size_t count)
        : storage_(4 * count),
          values(storage_.data()),
          quotients(values + count),
          raised(quotients + count),
          low(raised + count) {}
    Factors(Factors&&) = default;

    void set(std::size_t i, u64 value, u64 p) {
        const Factor f = factor_public(value, p);
        values[i] = f.value;
        quotients[i] = f.quotient;
        raised[i] = f.raised;
        low[i] = f.low;
    }
};

// Evaluations lie in bit-reversed order of the odd powers of psi, each run of 64 transposed as an 8 x 8 matrix: the
// order that vector code ends in without a final shuffle. AGREEMENT: uploads and public keys travel as evaluations.
//
// The last three layers (strides 4, 2, 1) work on 8 groups of 8 coefficients side by side; their twiddles are stored
// per run of 64 as 7 rows (1 + 2 + 4 of the three layers) of 8, one for each group.
struct Ntt {
    std::size_t degree;
    Prime prime;
    Factors outer, inner, inverse_outer, inverse_inner;
    Factor scale;  // 1 / N, folded into the last layer of the inverse: inverse_outer[1] carries it too

    Ntt(std::size_t n, u64 p);  // n a power of two, 64 <= n, p = 1 mod 2n
};

// The powers of psi that a polynomial is evaluated at, in the order of evaluations: odd numbers below 2n.
std::vector<std::uint32_t> evaluation_powers(std::size_t n);

}  // namespace deepreduce::ring
