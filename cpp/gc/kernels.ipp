// Garbling and evaluation over Lanes; included once per CPU path. Layouts: gc/kernels.hpp.

static void slice(std::size_t groups, unsigned width, const std::uint64_t* values, std::uint16_t* bits) {
    for (std::size_t g = 0; g < groups; ++g) {
        for (unsigned j = 0; j < width; ++j) bits[g * width + j] = bit_slice(values + g * group_size, j);
    }
}

static void unslice(std::size_t groups, unsigned width, const std::uint16_t* bits, std::uint64_t* values) {
    for (std::size_t g = 0; g < groups; ++g) {
        std::uint64_t out[group_size] = {};
        for (unsigned j = 0; j < width; ++j) {
            const std::uint64_t word = bits[g * width + j];
            for (std::size_t i = 0; i < group_size; ++i) out[i] |= ((word >> i) & 1) << j;
        }
        std::memcpy(values + g * group_size, out, sizeof out);
    }
}

// Labels of 0 of the garbler's inputs, group by group.
class OwnLabels {
  public:
    explicit OwnLabels(const Seed& seed) : nonce_(seed.nonce) {
        Block keys[8] = {seed.value};
        RoundKeys schedule[8];
        expand_keys(keys, schedule);
        key_ = schedule[0];
        wipe(schedule, sizeof schedule);
        wipe(keys, sizeof keys);
    }
    ~OwnLabels() { wipe(&key_, sizeof key_); }

    // `width` inputs of one group; count is the number of the first block.
    template <class Use>
    void each(std::uint64_t count, unsigned width, Use&& use) const {
        unsigned j = 0;
        for (; j + 2 <= width; j += 2) {
            Lanes x = Lanes::count(count + j * group_size, nonce_), y = Lanes::count(count + (j + 1) * group_size, nonce_);
            aes_pair(x, key_, y, key_);
            use(j, x);
            use(j + 1, y);
        }
        if (j < width) {
            Lanes x = Lanes::count(count + j * group_size, nonce_);
            aes(x, key_);
            use(j, x);
        }
    }

  private:
    RoundKeys key_;
    std::uint64_t nonce_;
};

static void encode(Block delta, const Seed& seed, std::uint64_t first_group, std::size_t groups, unsigned width,
                   const std::uint16_t* bits, Block* labels) {
    const OwnLabels own(seed);
    const Lanes offset = Lanes::broadcast(delta);
    for (std::size_t g = 0; g < groups; ++g) {
        own.each((first_group + g) * width * group_size, width, [&](unsigned j, const Lanes& zero) {
            (zero ^ offset.where(bits[g * width + j])).store(labels + (g * width + j) * group_size);
        });
    }
}

static constexpr std::uint64_t circuit_keys(gc::Circuit circuit, unsigned bits, unsigned shift) {
    return 2 * (circuit == gc::Circuit::relu ? 3 * (bits - 1) - shift : 2 * (bits - 1));
}

template <class Party>
static inline void whole_circuit(Party& party, gc::Circuit circuit, unsigned bits, unsigned shift, const Block* client,
                                 const Block* server, std::uint16_t* colors) {
    const Block* r = client + bits * group_size;
    const auto out = [&](unsigned j, const Lanes& wire) { colors[j] = wire.colors(); };
    if (circuit == gc::Circuit::relu) {
        relu_circuit(party, bits, shift, client, server, r, out);
    } else {
        rescale_circuit(party, bits, shift, client, server, r, out);
    }
}

static void garble(gc::Circuit circuit, unsigned shift, Block delta, Block key, const Seed& seed, std::uint64_t first_group,
                   std::size_t groups, unsigned bits, const Block* client_zero, Block* tables, std::uint16_t* colors) {
    const std::uint64_t used = circuit_keys(circuit, bits, shift);
    HashKeys keys(key, gate_domain, first_group * used);
    const OwnLabels own(seed);
    const Lanes offset = Lanes::broadcast(delta);
    Block server_zero[64 * group_size];
    for (std::size_t g = 0; g < groups; ++g) {
        own.each((first_group + g) * bits * group_size, bits,
                 [&](unsigned j, const Lanes& zero) { zero.store(server_zero + j * group_size); });
        Garbler garbler(keys, offset, tables + g * used * group_size);
        whole_circuit(garbler, circuit, bits, shift, client_zero + g * 2 * bits * group_size, server_zero, colors + g * bits);
    }
    wipe(server_zero, sizeof server_zero);
}

static void evaluate(gc::Circuit circuit, unsigned shift, Block key, std::uint64_t first_group, std::size_t groups, unsigned bits,
                     const Block* client_labels, const Block* server_labels, const Block* tables, std::uint16_t* colors) {
    const std::uint64_t used = circuit_keys(circuit, bits, shift);
    HashKeys keys(key, gate_domain, first_group * used);
    for (std::size_t g = 0; g < groups; ++g) {
        Evaluator evaluator(keys, tables + g * used * group_size);
        whole_circuit(evaluator, circuit, bits, shift, client_labels + g * 2 * bits * group_size,
                      server_labels + g * bits * group_size, colors + g * bits);
    }
}
