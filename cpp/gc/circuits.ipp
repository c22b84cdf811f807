// The circuits, written once for both roles; sixteen instances in lockstep, no branch on data. Included once per CPU path.
//
// Half gates (Zahur, Rosulek, Evans, EUROCRYPT 2015) with free XOR and point and permute: a wire is the label of 0 for the
// garbler and the active label for the evaluator. AND is the only operation that costs: two rows of 16 bytes an instance.

class Garbler {
  public:
    Garbler(HashKeys& keys, const Lanes& delta, Block* table)
        : keys_(keys), delta_(delta), delta_sigma_(delta.sigma()), table_(table) {}

    Lanes conjunction(const Lanes& x, const Lanes& y) {
        const RoundKeys& x_key = keys_.next();
        const RoundKeys& y_key = keys_.next();
        Lanes x0 = x.sigma(), x1 = x0 ^ delta_sigma_;
        Lanes y0 = y.sigma(), y1 = y0 ^ delta_sigma_;
        hash_pair(x0, x_key, x1, x_key);
        hash_pair(y0, y_key, y1, y_key);
        const Lanes garbler_row = x0 ^ x1 ^ delta_.where_color(y);
        const Lanes evaluator_row = y0 ^ y1 ^ x;
        garbler_row.store(table_);
        evaluator_row.store(table_ + group_size);
        table_ += 2 * group_size;
        return x0 ^ garbler_row.where_color(x) ^ y0 ^ (y0 ^ y1).where_color(y);
    }
    Lanes negation(const Lanes& x) const { return x ^ delta_; }

  private:
    HashKeys& keys_;
    Lanes delta_, delta_sigma_;
    Block* table_;
};

class Evaluator {
  public:
    Evaluator(HashKeys& keys, const Block* table) : keys_(keys), table_(table) {}

    Lanes conjunction(const Lanes& x, const Lanes& y) {
        const RoundKeys& x_key = keys_.next();
        const RoundKeys& y_key = keys_.next();
        const Lanes garbler_row = Lanes::load(table_), evaluator_row = Lanes::load(table_ + group_size);
        table_ += 2 * group_size;
        Lanes hx = x.sigma(), hy = y.sigma();
        hash_pair(hx, x_key, hy, y_key);
        return hx ^ garbler_row.where_color(x) ^ hy ^ (evaluator_row ^ x).where_color(y);
    }
    Lanes negation(const Lanes& x) const { return x; }

  private:
    HashKeys& keys_;
    const Block* table_;
};

// Bit 0..width - 1 of a + b in turn, handed to `sum(j, wire)`: width - 1 ANDs, the carry out of the top bit is not made.
template <class Party, class Sum>
static inline void add(Party& party, unsigned width, const Block* a, const Block* b, Sum&& sum) {
    Lanes carry = Lanes::broadcast(Block{0, 0});
    for (unsigned j = 0; j < width; ++j) {
        const Lanes a_j = Lanes::load(a + j * group_size), b_j = Lanes::load(b + j * group_size);
        if (j == 0) {
            sum(j, a_j ^ b_j);
            if (width > 1) carry = party.conjunction(a_j, b_j);
            continue;
        }
        const Lanes a_c = a_j ^ carry;
        sum(j, a_c ^ b_j);
        if (j + 1 < width) carry = carry ^ party.conjunction(a_c, b_j ^ carry);
    }
}

// z - r mod 2^width as not(not z + r), z given by wires 0..known - 1, its higher bits by `top` (or, without, by 0): width - 1
// ANDs. Result bits are handed to `difference(j, wire)`.
template <class Party, class Difference>
static inline void subtract(Party& party, unsigned width, const Lanes* z, unsigned known, const Lanes* top, const Block* r,
                            Difference&& difference) {
    Lanes carry = Lanes::broadcast(Block{0, 0});
    for (unsigned j = 0; j < width; ++j) {
        const Lanes r_j = Lanes::load(r + j * group_size);
        const bool last = j + 1 == width;
        if (j >= known && !top) {
            // not z = 1: the sum bit is not (r xor c), the carry r or c.
            difference(j, r_j ^ carry);
            if (!last) carry = party.negation(party.conjunction(party.negation(r_j), party.negation(carry)));
            continue;
        }
        const Lanes u = party.negation(j < known ? z[j] : *top);
        difference(j, party.negation(u ^ r_j ^ carry));
        if (last) continue;
        carry = j == 0 ? party.conjunction(u, r_j) : carry ^ party.conjunction(u ^ carry, r_j ^ carry);
    }
}

// DELPHI's ReLU (Mishra et al., USENIX Security 2020, the non-linear layers) with truncation: max(0, a + b) >> shift,
// minus r, all mod 2^bits: 3 (bits - 1) - shift ANDs. Inputs: a and r are the evaluator's, b the garbler's.
template <class Party, class Out>
static inline void relu_circuit(Party& party, unsigned bits, unsigned shift, const Block* a, const Block* b, const Block* r,
                                Out&& out) {
    Lanes wires[64];
    add(party, bits, a, b, [&](unsigned j, const Lanes& wire) { wires[j] = wire; });
    const Lanes positive = party.negation(wires[bits - 1]);
    const unsigned known = bits - 1 - shift;
    for (unsigned j = 0; j < known; ++j) wires[j] = party.conjunction(wires[j + shift], positive);
    subtract(party, bits, wires, known, nullptr, r, out);
}

// The same without ReLU: (a + b) >> shift, arithmetic, minus r: 2 (bits - 1) ANDs.
template <class Party, class Out>
static inline void rescale_circuit(Party& party, unsigned bits, unsigned shift, const Block* a, const Block* b, const Block* r,
                                   Out&& out) {
    Lanes wires[64];
    add(party, bits, a, b, [&](unsigned j, const Lanes& wire) { wires[j] = wire; });
    subtract(party, bits, wires + shift, bits - shift, wires + bits - 1, r, out);
}
