// Tables of the negacyclic number-theoretic transform modulo one prime.
#pragma once

#include <cstddef>

#include "base/secret.hpp"
#include "ring/prime.hpp"

namespace deepreduce::ring {

// Factors as a structure of arrays: a path loads the values and the quotients of its own word size.
struct Factors {
    Aligned<u64> values, quotients52, quotients64;
    explicit Factors(std::size_t count) : values(count), quotients52(count), quotients64(count) {}
    void set(std::size_t i, u64 value, u64 p) {
        const Factor f = factor_public(value, p);
        values[i] = f.value;
        quotients52[i] = f.quotient52;
        quotients64[i] = f.quotient64;
    }
};

// Evaluations lie in bit-reversed order of the odd powers of psi, each run of 64 transposed as an 8 x 8 matrix: the order
// that vector code ends in without a final shuffle. AGREEMENT: uploads and public keys travel as evaluations.
//
// The last three layers (strides 4, 2, 1) work on 8 groups of 8 coefficients side by side; their twiddles are stored per
// run of 64 as 7 rows (1 + 2 + 4 of the three layers) of 8, one for each group.
struct Ntt {
    std::size_t degree;
    Prime prime;
    Factors outer, inner, inverse_outer, inverse_inner;
    Factor scale;  // 1 / N, folded into the last layer of the inverse: inverse_outer[1] carries it too

    Ntt(std::size_t n, u64 p);  // n a power of two, 64 <= n, p = 1 mod 2n
};

}  // namespace deepreduce::ring
