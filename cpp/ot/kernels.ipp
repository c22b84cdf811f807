// SoftSpoken OT (Roy, CRYPTO 2022, semi-honest) over Lanes; included once per CPU path.
//
// A row is 2048 bits, one per OT of the tile: exactly one Lanes.

static constexpr std::size_t rows = 128;
static constexpr std::size_t row_bytes = ot::tile_ots / 8;
static_assert(row_bytes == sizeof(Lanes));

// Eight independent 64x64 bit matrices side by side, one in each word.
typedef std::uint64_t Words __attribute__((vector_size(64)));

static inline void exchange(Words& upper, Words& lower, int shift, std::uint64_t mask) {
    const Words t = ((upper >> shift) ^ lower) & mask;
    lower ^= t;
    upper ^= t << shift;
}

// Three levels of the recursive transpose on rows first, first + step, ..., first + 7 step; the top one swaps bits 4 step.
static inline void transpose_levels(Words* matrix, int first, int step, const std::uint64_t mask[3]) {
    Words r[8];
    for (int i = 0; i < 8; ++i) r[i] = matrix[first + i * step];
    for (int i = 0; i < 4; ++i) exchange(r[i], r[i + 4], 4 * step, mask[0]);
    for (int i : {0, 1, 4, 5}) exchange(r[i], r[i + 2], 2 * step, mask[1]);
    for (int i : {0, 2, 4, 6}) exchange(r[i], r[i + 1], step, mask[2]);
    for (int i = 0; i < 8; ++i) matrix[first + i * step] = r[i];
}

static inline void transpose_64(Words* matrix) {
    constexpr std::uint64_t high[3] = {0x00000000FFFFFFFF, 0x0000FFFF0000FFFF, 0x00FF00FF00FF00FF};
    constexpr std::uint64_t low[3] = {0x0F0F0F0F0F0F0F0F, 0x3333333333333333, 0x5555555555555555};
    for (int i = 0; i < 8; ++i) transpose_levels(matrix, i, 8, high);
    for (int i = 0; i < 8; ++i) transpose_levels(matrix, 8 * i, 1, low);
}

// Rows [128][2048 bits] to blocks: bit r of out[i] is bit i of row r.
static void transpose(const std::uint8_t* from, std::size_t ots, Block* out) {
    alignas(64) Words half[2][64];
    for (std::size_t column = 0; column < ots; column += 512) {
        for (std::size_t h = 0; h < 2; ++h) {
            for (std::size_t r = 0; r < 64; ++r) std::memcpy(&half[h][r], from + (64 * h + r) * row_bytes + column / 8, 64);
            transpose_64(half[h]);
        }
        const std::size_t words = ots - column < 512 ? (ots - column) / 64 : 8;
        for (std::size_t k = 0; k < 64; ++k) {
            for (std::size_t w = 0; w < words; ++w) out[column + 64 * w + k] = {half[0][k][w], half[1][k][w]};
        }
    }
}

struct Schedules {
    explicit Schedules(std::size_t leaves) : keys(new RoundKeys[leaves]), count(leaves) {}
    ~Schedules() {
        wipe(keys, count * sizeof(RoundKeys));
        delete[] keys;
    }
    Schedules(const Schedules&) = delete;
    Schedules& operator=(const Schedules&) = delete;
    RoundKeys* keys;
    std::size_t count;
};

static void expand_leaves(const Block* leaves, Schedules& schedules) {
    for (std::size_t i = 0; i < schedules.count; i += 8) expand_keys(leaves + i, schedules.keys + i);
}

// Streams of all leaves of one tree, folded: row b is the sum over leaves whose number has bit b, the return value the sum
// over all leaves. The first leaf appears in the total alone, so the sender, who lacks it, passes first_leaf = 1.
static inline Lanes fold_tree(const RoundKeys* leaves, unsigned k, std::size_t first_leaf, std::uint64_t counter, std::uint64_t nonce,
                              Lanes* row) {
    Lanes value[16];
    value[0] = Lanes::broadcast(Block{0, 0});
    std::size_t count = std::size_t{1} << k;
    // In pairs, so that enough blocks are in flight; leaf 0 of the sender holds zeros and its stream is dropped.
    for (std::size_t leaf = 0; leaf < count; leaf += 2) {
        value[leaf] = Lanes::count(counter, nonce);
        value[leaf + 1] = value[leaf];
        aes_pair(value[leaf], leaves[leaf], value[leaf + 1], leaves[leaf + 1]);
    }
    if (first_leaf) value[0] = Lanes::broadcast(Block{0, 0});
    for (unsigned b = 0; b < k; ++b) {
        count /= 2;
        Lanes sum = value[1];
        for (std::size_t i = 1; i < count; ++i) sum = sum ^ value[2 * i + 1];
        row[b] = sum;
        for (std::size_t i = 0; i < count; ++i) value[i] = value[2 * i] ^ value[2 * i + 1];
    }
    return value[0];
}

static void receive(const Block* leaves, std::uint64_t nonce, unsigned k, std::uint64_t first, std::size_t count, std::size_t ots,
                    const std::uint8_t* choices, std::uint8_t* correction, Block* out) {
    const std::size_t trees = rows / k;
    Schedules schedules(trees << k);
    expand_leaves(leaves, schedules);
    Lanes row[rows];
    for (std::size_t tile = 0; tile < count; ++tile) {
        const std::size_t here = ots < ot::tile_ots ? ots : ot::tile_ots;
        alignas(64) std::uint8_t bits[row_bytes] = {}, masked[row_bytes];
        std::memcpy(bits, choices, here / 8);
        const Lanes choice = Lanes::load(reinterpret_cast<const Block*>(bits));
        for (std::size_t tree = 0; tree < trees; ++tree) {
            const Lanes total = fold_tree(schedules.keys + (tree << k), k, 0, (first + tile) * group_size, nonce, row + tree * k);
            (total ^ choice).store(reinterpret_cast<Block*>(masked));
            std::memcpy(correction + tree * (here / 8), masked, here / 8);
        }
        transpose(reinterpret_cast<const std::uint8_t*>(row), here, out);
        choices += here / 8;
        correction += trees * (here / 8);
        out += here;
        ots -= here;
    }
    wipe(row, sizeof row);
}

static void send(const Block* leaves, std::uint64_t nonce, unsigned k, Block delta, std::uint64_t first, std::size_t count, std::size_t ots,
                 const std::uint8_t* correction, Block* out) {
    const std::size_t trees = rows / k;
    Schedules schedules(trees << k);
    expand_leaves(leaves, schedules);
    Lanes row[rows];
    for (std::size_t tile = 0; tile < count; ++tile) {
        const std::size_t here = ots < ot::tile_ots ? ots : ot::tile_ots;
        for (std::size_t tree = 0; tree < trees; ++tree) {
            fold_tree(schedules.keys + (tree << k), k, 1, (first + tile) * group_size, nonce, row + tree * k);
            alignas(64) std::uint8_t bits[row_bytes] = {};
            std::memcpy(bits, correction + tree * (here / 8), here / 8);
            const Lanes masked = Lanes::load(reinterpret_cast<const Block*>(bits));
            for (std::size_t b = 0; b < k; ++b) {
                const std::size_t r = tree * k + b;
                const std::uint64_t bit = ((r < 64 ? delta.lo : delta.hi) >> (r % 64)) & 1;
                row[r] = row[r] ^ masked.where(static_cast<std::uint16_t>(-bit));
            }
        }
        transpose(reinterpret_cast<const std::uint8_t*>(row), here, out);
        correction += trees * (here / 8);
        out += here;
        ots -= here;
    }
    wipe(row, sizeof row);
}

static void hash(Block key, std::uint64_t first, std::size_t groups, const Block* x, const Block* delta, std::uint64_t* h0,
                 std::uint64_t* h1) {
    HashKeys keys(key, product_domain, first);
    const Lanes offset = Lanes::broadcast(delta ? *delta : Block{0, 0}).sigma();
    for (std::size_t g = 0; g < groups; ++g) {
        const RoundKeys& k = keys.next();
        Lanes zero = Lanes::load(x + g * group_size).sigma();
        if (delta) {  // which side of the product this is: public
            Lanes one = zero ^ offset;
            hash_pair(zero, k, one, k);
            one.low_words(h1 + g * group_size);
        } else {
            const Lanes in = zero;
            aes(zero, k);
            zero = zero ^ in;
        }
        zero.low_words(h0 + g * group_size);
    }
}
