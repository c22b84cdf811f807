// AES-128 as a Boolean circuit over 64 blocks at once: no table, hence no index that depends on the key.
#include <cstring>

#include "base/prg.hpp"
#include "base/secret.hpp"

namespace deepreduce::aes::scalar {
namespace {

using u64 = std::uint64_t;

// Bit b of byte i of block k is bit k of planes[b][i]. All 16 bytes of one bit lie together, so that loops over the bytes
// become vector instructions.
using Planes = u64[8][16];

// The S-box of Boyar and Peralta, "A depth-16 circuit for the AES S-box" (ePrint 2011/332): 32 ANDs.
template <class Word>
void sub_byte(Word& q0, Word& q1, Word& q2, Word& q3, Word& q4, Word& q5, Word& q6, Word& q7) {
    const Word x0 = q7, x1 = q6, x2 = q5, x3 = q4, x4 = q3, x5 = q2, x6 = q1, x7 = q0;
    const Word y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    const Word y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    const Word y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    const Word y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

    const Word t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16, t9 = (y5 & y1) ^ t7;
    const Word t11 = (y2 & y7) ^ t7, t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    const Word t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19, t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    const Word t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22;
    const Word t33 = ((t22 ^ t26) & (t23 ^ t24)) ^ t24, t36 = t24 & (t27 ^ t33), t37 = t36 ^ t23 ^ t33;
    const Word t40 = t25 ^ (t29 & (t27 ^ t36));
    const Word t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    const Word z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7;
    const Word z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4;
    const Word z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    const Word t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    const Word t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    const Word t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    const Word t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;
    q7 = t59 ^ t63;
    q6 = t64 ^ ~s3;
    q5 = t55 ^ ~t67;
    q4 = s3;
    q3 = t51 ^ t66;
    q2 = t47 ^ t65;
    q1 = t56 ^ ~t62;
    q0 = t48 ^ ~t60;
}

void sub_bytes(Planes& s) {
    for (int i = 0; i < 16; ++i) sub_byte(s[0][i], s[1][i], s[2][i], s[3][i], s[4][i], s[5][i], s[6][i], s[7][i]);
}

// Byte r + 4c moves to row r, column c - r (FIPS 197, 5.1.2).
void shift_rows(Planes& s) {
    for (auto& plane : s) {
        u64 moved[16];
        for (int i = 0; i < 16; ++i) moved[i] = plane[(i + 4 * (i % 4)) % 16];
        std::memcpy(plane, moved, sizeof moved);
    }
}

// b_r = 2 (a_r + a_(r+1)) + a_(r+1) + a_(r+2) + a_(r+3), multiplication by 2 in GF(2^8) being a shift of the planes.
void mix_columns(Planes& s) {
    u64 sum[8][16];
    Planes mixed;
    for (int b = 0; b < 8; ++b) {
        for (int i = 0; i < 16; ++i) {
            const int column = i & ~3;
            const u64 one = s[b][column + (i + 1) % 4], two = s[b][column + (i + 2) % 4], three = s[b][column + (i + 3) % 4];
            sum[b][i] = s[b][i] ^ one;
            mixed[b][i] = one ^ two ^ three;
        }
    }
    for (int i = 0; i < 16; ++i) {
        for (int b = 0; b < 8; ++b) mixed[b][i] ^= sum[(b + 7) % 8][i];
        for (int b : {1, 3, 4}) mixed[b][i] ^= sum[7][i];
    }
    std::memcpy(s, mixed, sizeof mixed);
}

void add_round_key(Planes& s, const std::uint8_t* key) {
    for (int b = 0; b < 8; ++b) {
        for (int i = 0; i < 16; ++i) s[b][i] ^= u64{0} - ((key[i] >> b) & u64{1});
    }
}

// Transposes a 64 x 64 bit matrix by halves (Hacker's Delight, 7-3).
void transpose(u64* rows) {
    u64 mask = 0x00000000ffffffff;
    for (int width = 32; width; width >>= 1, mask ^= mask << width) {
        for (int k = 0; k < 64; k = (k + width + 1) & ~width) {
            const u64 t = ((rows[k] >> width) ^ rows[k + width]) & mask;
            rows[k] ^= t << width;
            rows[k + width] ^= t;
        }
    }
}

void expand_key(std::uint8_t* round_keys, const std::uint8_t* key) {
    std::memcpy(round_keys, key, 16);
    std::uint8_t constant = 1;
    for (std::uint8_t* k = round_keys + 16; k < round_keys + 176; k += 4) {
        std::uint8_t word[4];
        std::memcpy(word, k - 4, 4);
        if ((k - round_keys) % 16 == 0) {
            u64 bits[8] = {};
            for (int i = 0; i < 4; ++i) {
                for (int b = 0; b < 8; ++b) bits[b] |= ((word[(i + 1) % 4] >> b) & u64{1}) << i;
            }
            sub_byte(bits[0], bits[1], bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]);
            for (int i = 0; i < 4; ++i) {
                word[i] = 0;
                for (int b = 0; b < 8; ++b) word[i] |= static_cast<std::uint8_t>(((bits[b] >> i) & 1) << b);
            }
            word[0] ^= constant;
            constant = static_cast<std::uint8_t>((constant << 1) ^ (constant & 0x80 ? 0x1b : 0));  // public
        }
        for (int i = 0; i < 4; ++i) k[i] = k[i - 16] ^ word[i];
    }
}

void counter_blocks(std::uint8_t* out, const std::uint8_t* round_keys, u64 counter, std::size_t blocks) {
    Planes s;
    u64 rows[2][64];
    for (; blocks; counter += 64) {
        for (u64 k = 0; k < 64; ++k) rows[0][k] = counter + k;
        transpose(rows[0]);
        std::memset(s, 0, sizeof s);
        for (int i = 0; i < 64; ++i) s[i % 8][i / 8] = rows[0][i];
        add_round_key(s, round_keys);
        for (int round = 1; round <= 10; ++round) {
            sub_bytes(s);
            shift_rows(s);
            if (round < 10) mix_columns(s);
            add_round_key(s, round_keys + 16 * round);
        }
        for (int half = 0; half < 2; ++half) {
            for (int i = 0; i < 64; ++i) rows[half][i] = s[i % 8][8 * half + i / 8];
            transpose(rows[half]);
        }
        const std::size_t now = blocks < 64 ? blocks : 64;
        for (std::size_t k = 0; k < now; ++k, out += 16) {
            std::memcpy(out, &rows[0][k], 8);
            std::memcpy(out + 8, &rows[1][k], 8);
        }
        blocks -= now;
    }
    wipe(s, sizeof s);
    wipe(rows, sizeof rows);
}

}  // namespace
}  // namespace deepreduce::aes::scalar

namespace deepreduce::aes {

const Kernels& scalar_kernels() {
    static constexpr Kernels kernels = {scalar::expand_key, scalar::counter_blocks};
    return kernels;
}

}  // namespace deepreduce::aes
