// The client of the homomorphic phase: it holds the key, encrypts its masks and decrypts its shares.
#pragma once

#include "base/secret_vector.hpp"
#include "he/parameters.hpp"

namespace deepreduce::he {

class Client {
public:
    // Fresh keys. The secret is wiped when the client ends.
    explicit Client(unsigned ring_bits, SeedSource seeds = os_seed);

    const Parameters& parameters() const { return *parameters_; }
    const std::vector<std::uint8_t>& public_key() const { return public_key_; }

    // out: for each level packing_key_bytes (he/packing.hpp).
    void packing_keys(std::uint8_t* out, const std::vector<unsigned>& levels) const;

    // polynomials [count][N], values taken modulo 2^l; out: count uploads. Constant time in the polynomials.
    void encrypt(std::uint8_t* out, const u64* polynomials, std::size_t count, unsigned threads) const;

    // `count` responses one after the other. Response i holds the coefficients positions[offsets[i]] to
    // positions[offsets[i + 1] - 1]; values, in the same order, are modulo 2^l. Throws std::invalid_argument at damaged
    // coefficients; lengths are the caller's to check (response_bytes). Constant time in key and values.
    void decrypt(u64* values, const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets,
                 std::size_t count, unsigned threads) const;

    // Of the same responses: the noise of each value as a part of what decryption bears, in [-1, 1].
    void noise(double* noise, const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets,
               std::size_t count, unsigned threads) const;

private:
    template <class Take>
    void open(const std::uint8_t* responses, const std::int32_t* positions, const i64* offsets, std::size_t count,
              unsigned threads, Take take) const;
    struct Workspace;
    void encrypt_zero(Workspace& work, const Seed& uniform, Prg& secret) const;

    std::shared_ptr<const Parameters> parameters_;
    SeedSource seeds_;
    SecretVector<u64> secret_;  // [primes][N] evaluations times 2^52
    std::vector<std::uint8_t> public_key_;
};

}  // namespace deepreduce::he
