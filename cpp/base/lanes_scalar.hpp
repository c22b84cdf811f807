// Sixteen blocks at once in plain C++: bitsliced AES without tables, so that time does not depend on data.
//
// Included by the *_scalar.cpp files only. The three lanes_*.hpp offer the same names in their own namespace; kernels are
// written once against them (*.ipp).
#pragma once

#include "base/block.hpp"

namespace deepreduce::scalar {

using u64 = std::uint64_t;

// Eight bit planes of 64 bytes (four blocks): bit p of plane b is bit b of byte p.
struct Planes {
    u64 bit[8];
};

// FIPS 197 round keys as planes, each key repeated for four blocks.
struct RoundKeys {
    Planes round[11];
};

namespace detail {

// 8x8 bit transpose within a word, then 8x8 byte transpose over the words: bytes to planes and, run backwards, back.
inline u64 transpose_bits(u64 x) {
    u64 t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
    return x ^ t ^ (t << 28);
}

inline void transpose_bytes(u64 w[8]) {
    for (int distance = 1; distance < 8; distance *= 2) {
        const int shift = 8 * distance;
        const u64 mask = distance == 1 ? 0x00FF00FF00FF00FFull : distance == 2 ? 0x0000FFFF0000FFFFull : 0x00000000FFFFFFFFull;
        for (int i = 0; i < 8; ++i) {
            if (i & distance) continue;
            const u64 t = ((w[i] >> shift) ^ w[i + distance]) & mask;
            w[i + distance] ^= t;
            w[i] ^= t << shift;
        }
    }
}

inline Planes to_planes(const Block blocks[4]) {
    Planes p;
    std::memcpy(p.bit, blocks, 64);
    for (u64& word : p.bit) word = transpose_bits(word);
    transpose_bytes(p.bit);
    return p;
}

inline void from_planes(Planes p, Block blocks[4]) {
    transpose_bytes(p.bit);
    for (u64& word : p.bit) word = transpose_bits(word);
    std::memcpy(blocks, p.bit, 64);
}

// The S-box of J. Boyar and R. Peralta (113 gates), bit 7 first.
inline void sub_bytes(Planes& p) {
    const u64 x0 = p.bit[7], x1 = p.bit[6], x2 = p.bit[5], x3 = p.bit[4];
    const u64 x4 = p.bit[3], x5 = p.bit[2], x6 = p.bit[1], x7 = p.bit[0];
    const u64 y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    const u64 y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    const u64 y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    const u64 y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;
    const u64 t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & x7, t6 = t5 ^ t2, t7 = y13 & y16, t8 = y5 & y1;
    const u64 t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7, t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12;
    const u64 t15 = y8 & y10, t16 = t15 ^ t12, t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
    const u64 t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18;
    const u64 t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22, t30 = t23 ^ t24;
    const u64 t31 = t22 ^ t26, t32 = t31 & t30, t33 = t32 ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35;
    const u64 t37 = t36 ^ t34, t38 = t27 ^ t36, t39 = t29 & t38, t40 = t25 ^ t39;
    const u64 t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    const u64 z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7;
    const u64 z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4;
    const u64 z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;
    const u64 t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    const u64 t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    const u64 t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    const u64 t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65;
    const u64 s3 = t53 ^ t66;
    p.bit[7] = t59 ^ t63;
    p.bit[6] = t64 ^ ~s3;
    p.bit[5] = t55 ^ ~t67;
    p.bit[4] = s3;
    p.bit[3] = t51 ^ t66;
    p.bit[2] = t47 ^ t65;
    p.bit[1] = t56 ^ ~t62;
    p.bit[0] = t48 ^ ~t60;
}

// Byte 4c + r of a block is row r of column c: a block is 16 bits of a plane, a column four of them.
inline u64 shift_rows(u64 x) {
    const u64 row0 = 0x1111111111111111ull;
    u64 out = x & row0;
    for (int r = 1; r < 4; ++r) {
        const u64 row = x & (row0 << r);
        const u64 low = (0x0001000100010001ull << (4 * r)) - 0x0001000100010001ull;  // the low 4r bits of every block
        out |= ((row & ~low) >> (4 * r)) | ((row & low) << (16 - 4 * r));
    }
    return out;
}

inline u64 rotate_column(u64 x) { return ((x >> 1) & 0x7777777777777777ull) | ((x & 0x1111111111111111ull) << 3); }

inline void mix_columns(Planes& p) {
    u64 once[8], sum[8];
    for (int b = 0; b < 8; ++b) {
        once[b] = rotate_column(p.bit[b]);
        sum[b] = p.bit[b] ^ once[b];
    }
    for (int b = 0; b < 8; ++b) {
        u64 doubled = b ? sum[b - 1] : sum[7];
        if (b == 1 || b == 3 || b == 4) doubled ^= sum[7];
        p.bit[b] = doubled ^ once[b] ^ rotate_column(rotate_column(sum[b]));
    }
}

inline void encrypt(Planes& p, const RoundKeys& keys) {
    for (int b = 0; b < 8; ++b) p.bit[b] ^= keys.round[0].bit[b];
    for (int round = 1; round <= 10; ++round) {
        sub_bytes(p);
        for (u64& plane : p.bit) plane = shift_rows(plane);
        if (round < 10) mix_columns(p);
        for (int b = 0; b < 8; ++b) p.bit[b] ^= keys.round[round].bit[b];
    }
}

}  // namespace detail

struct Lanes {
    Block lane[group_size];

    static Lanes load(const Block* from) {
        Lanes out;
        std::memcpy(out.lane, from, sizeof out.lane);
        return out;
    }
    void store(Block* to) const { std::memcpy(to, lane, sizeof lane); }
    static Lanes broadcast(Block value) {
        Lanes out;
        for (Block& block : out.lane) block = value;
        return out;
    }
    // Counters first, first + 1, ... in the low words, `high` in the high words.
    static Lanes count(u64 first, u64 high) {
        Lanes out;
        for (u64 i = 0; i < group_size; ++i) out.lane[i] = {first + i, high};
        return out;
    }
    friend Lanes operator^(Lanes a, const Lanes& b) {
        for (std::size_t i = 0; i < group_size; ++i) a.lane[i] = a.lane[i] ^ b.lane[i];
        return a;
    }
    // Lanes whose bit of `bits` is 1 stay, the others become 0.
    Lanes where(std::uint16_t bits) const {
        Lanes out;
        for (std::size_t i = 0; i < group_size; ++i) {
            const u64 mask = -static_cast<u64>((bits >> i) & 1);
            out.lane[i] = {lane[i].lo & mask, lane[i].hi & mask};
        }
        return out;
    }
    // Lanes of this where the color (last bit) of `other` is 1; the others become 0.
    Lanes where_color(const Lanes& other) const {
        Lanes out;
        for (std::size_t i = 0; i < group_size; ++i) {
            const u64 mask = -(other.lane[i].lo & 1);
            out.lane[i] = {lane[i].lo & mask, lane[i].hi & mask};
        }
        return out;
    }
    std::uint16_t colors() const {
        unsigned out = 0;
        for (std::size_t i = 0; i < group_size; ++i) out |= static_cast<unsigned>(lane[i].lo & 1) << i;
        return static_cast<std::uint16_t>(out);
    }
    // The linear orthomorphism (L, R) -> (L xor R, L), L the high word.
    Lanes sigma() const {
        Lanes out;
        for (std::size_t i = 0; i < group_size; ++i) out.lane[i] = {lane[i].hi, lane[i].hi ^ lane[i].lo};
        return out;
    }
    void low_words(u64* to) const {
        for (std::size_t i = 0; i < group_size; ++i) to[i] = lane[i].lo;
    }
};

inline void aes(Lanes& x, const RoundKeys& keys) {
    for (std::size_t i = 0; i < group_size; i += 4) {
        Planes p = detail::to_planes(x.lane + i);
        detail::encrypt(p, keys);
        detail::from_planes(p, x.lane + i);
    }
}

inline void aes_pair(Lanes& x, const RoundKeys& x_keys, Lanes& y, const RoundKeys& y_keys) {
    aes(x, x_keys);
    aes(y, y_keys);
}

// The key schedules of 8 keys.
inline void expand_keys(const Block keys[8], RoundKeys out[8]) {
    std::uint32_t words[8][44];
    for (int k = 0; k < 8; ++k) std::memcpy(words[k], &keys[k], 16);
    std::uint32_t constant = 1;
    for (int i = 4; i < 44; i += 4) {
        Block bytes[4] = {};
        auto* word = reinterpret_cast<std::uint32_t*>(bytes);
        for (int k = 0; k < 8; ++k) word[k] = (words[k][i - 1] >> 8) | (words[k][i - 1] << 24);
        Planes p = detail::to_planes(bytes);
        detail::sub_bytes(p);
        detail::from_planes(p, bytes);
        for (int k = 0; k < 8; ++k) {
            words[k][i] = words[k][i - 4] ^ word[k] ^ constant;
            for (int j = 1; j < 4; ++j) words[k][i + j] = words[k][i + j - 4] ^ words[k][i + j - 1];
        }
        constant = (constant << 1) ^ ((constant >> 7) * 0x11B);
    }
    for (int k = 0; k < 8; ++k) {
        for (int round = 0; round < 11; ++round) {
            Block repeated[4];
            for (Block& block : repeated) std::memcpy(&block, words[k] + 4 * round, 16);
            out[k].round[round] = detail::to_planes(repeated);
        }
    }
    wipe(words, sizeof words);
}

// Bit j of sixteen words, word i's in bit i.
inline std::uint16_t bit_slice(const u64* values, unsigned j) {
    unsigned out = 0;
    for (std::size_t i = 0; i < group_size; ++i) out |= static_cast<unsigned>((values[i] >> j) & 1) << i;
    return static_cast<std::uint16_t>(out);
}

}  // namespace deepreduce::scalar
