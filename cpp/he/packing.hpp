// Packing of products into one response by automorphisms: Chen, Dai, Kim, Song, "Efficient Homomorphic Conversion
// between (Ring) LWE Ciphertexts" (ACNS 2021), sections 3 and 4.
//
// Automorphism `level` takes X to X^(N / 2^level + 1): it fixes X^e for multiples e of 2^(level + 1) and negates it for
// odd multiples of 2^level. Two ciphertexts a, b that are of use at the multiples of 2 s, with s an odd multiple of
// 2^level, are merged to one that is of use at the multiples of s:
//
//     (a + X^s b) / 2 + automorphism((a - X^s b) / 2)
//
// has a's coefficients there and b's, s further. Halves are those of Z_q, q being odd: what is of use does not grow, and
// what is not vanishes where the other's come to lie. The automorphism of a ciphertext is one under another key; its
// second half is taken apart into its residues modulo the primes of q, which multiply encryptions of the automorphism
// of the secret times the number that is 1 modulo that prime and 0 modulo the others.
#pragma once

#include "base/secret_vector.hpp"
#include "he/parameters.hpp"

namespace deepreduce::he {

// places[i]: where the evaluation i of x(X^(N / 2^level + 1)) stands among the evaluations of x.
std::vector<std::uint32_t> automorphism(unsigned level, const Parameters& parameters);

// The client's encryptions of its secret's automorphisms, as the server multiplies by them.
class PackingKeys {
public:
    // `keys`: for each level packing_key_bytes, encryptions prime after prime in the form of public keys. Throws
    // std::invalid_argument at a damaged one, or a level that is not below log2 N.
    PackingKeys(std::shared_ptr<const Parameters> parameters, const std::vector<unsigned>& levels,
                const std::uint8_t* keys);

    bool has(std::size_t spacing) const;

    // What a merge needs, of the size of ciphertexts.
    struct Workspace {
        SecretVector<u64> differences;  // [2][primes][N]
        SecretVector<u64> residues;     // [primes][primes of the residues][N]
        SecretVector<u64> product;      // [N]
        explicit Workspace(const Parameters& parameters);
    };
    // a becomes a and b merged, at this spacing; both [2][primes][N] evaluations. `shift`: evaluations [primes][N] of
    // X^spacing times 2^52. Constant time in a and b.
    void merge(Workspace& work, u64* a, const u64* b, std::size_t spacing, const u64* shift) const;

private:
    struct Key {
        std::vector<std::uint32_t> places;
        AlignedVector<u64> evaluations;  // [primes][chunks][primes of the residues][2][32], moved back, times 2^52
    };
    std::shared_ptr<const Parameters> parameters_;
    std::vector<Key> keys_;  // by level; those that were not sent are empty
};

}  // namespace deepreduce::he
