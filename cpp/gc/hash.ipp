// The garbling hash H(x, i) = AES_{k_i}(sigma(x)) xor sigma(x), k_i = AES_S(i) with the vector's public key S.
//
// Multi-instance tweakable circular correlation robust in the ideal-cipher model (Guo, Katz, Wang, Weng, Yu, CRYPTO 2020):
// the key changes with the tweak, so security does not erode with the number of gates or of clients, only with
// the uses of one key: 16 instances times at most 8 inputs (SECURITY; 7 bits). sigma, a linear orthomorphism, is what makes it
// circular: without it E_k's inverse on a table row would give Delta. Included once per CPU path.

// Keys number first, first + 1, ... of the stream that S opens in one domain, expanded sixteen at a time.
class HashKeys {
  public:
    HashKeys(Block master, std::uint64_t domain, std::uint64_t first) : domain_(domain), next_(first) {
        Block keys[8] = {master};
        RoundKeys schedule[8];
        expand_keys(keys, schedule);
        master_ = schedule[0];
    }

    const RoundKeys& next() {
        if (used_ == group_size) refill();
        return keys_[used_++];
    }

  private:
    void refill() {
        Lanes counters = Lanes::count(next_, domain_);
        aes(counters, master_);
        Block keys[group_size];
        counters.store(keys);
        expand_keys(keys, keys_);
        expand_keys(keys + 8, keys_ + 8);
        next_ += group_size;
        used_ = 0;
    }

    RoundKeys master_;
    RoundKeys keys_[group_size];
    std::uint64_t domain_;
    std::uint64_t next_;
    std::size_t used_ = group_size;
};

// Domains of the key stream: what is hashed for different purposes never shares a key.
constexpr std::uint64_t gate_domain = 0;
constexpr std::uint64_t product_domain = 1;

// H of two vectors that are already sigma(x) and sigma(y).
static inline void hash_pair(Lanes& x, const RoundKeys& x_key, Lanes& y, const RoundKeys& y_key) {
    const Lanes x_in = x, y_in = y;
    aes_pair(x, x_key, y, y_key);
    x = x ^ x_in;
    y = y ^ y_in;
}
