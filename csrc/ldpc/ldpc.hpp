// Quasi-cyclic LDPC codes: what a code is and what decoders fill. IEEE 802.11n and 5G NR; coder.hpp encodes and decodes. No Python here.
//
// Conventions. Bits are packed most significant first. An LLR is log P(bit = 0) / P(bit = 1): positive means 0, 0 is an erased bit.
// int8 LLRs come in steps of 1 / kLlrScale of a nat. A block is one codeword; k information bits, n sent bits. Every decoder ends in bounded
// time on any LLRs, gives the same decisions on every ISA, and its result for a block depends on that block alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "exact_math.hpp"

namespace featcodec::ldpc {

// The parity checks: rows x cols blocks of z x z. A block of shift s is the identity whose row r has its one in column (r + s) mod z; -1 is the zero block.
struct Matrix {
    unsigned rows = 0, cols = 0, z = 0;
    std::vector<std::int16_t> shifts;  // row-major
    std::int16_t at(unsigned row, unsigned col) const { return shifts[std::size_t{row} * cols + col]; }
};

// `count` sent bits from `sent` on are the mother code's bits from `mother` on. A mother bit may be sent more than once (repetition).
struct Segment {
    unsigned sent, mother, count;
};

enum class Family { wifi, nr };

// A code: the mother code's matrix and which of its bits are sent. Mother bits: information columns first (info_cols of them), then parity.
// Mother bits [k, info_cols * z) are known zeros and are not sent (shortening, fillers); others may be unsent too (puncturing).
struct Code {
    Family family = Family::wifi;
    unsigned k = 0, n = 0, z = 0;
    unsigned info_cols = 0;
    Matrix matrix;                  // only the rows and columns that this k and n need
    std::vector<Segment> segments;  // ascending in `sent`, together [0, n)
    unsigned mother_bits() const { return matrix.cols * z; }
    unsigned known_bits() const { return info_cols * z - k; }
};

enum class Rate { r12, r23, r34, r56 };

// n is 648, 1296 or 1944 of the whole code; 1 <= k <= n * rate: a smaller k is shortened, and the last `punctured` parity bits are not sent; Code::n is what is
// then sent. std::invalid_argument otherwise.
Code wifi_code(unsigned n, Rate rate, unsigned k, unsigned punctured = 0);
// TS 38.212: base graph, lifting size, shortening, puncturing and circular-buffer rate matching for any 1 <= k <= 8448 (BG1) and n; throws std::invalid_argument.
Code nr_code(unsigned k, unsigned n);

inline constexpr int kLlrScale = 2;  // int8 steps per nat

// What a decoder fills for B blocks.
struct Decoded {
    std::span<std::uint8_t> bits;          // B * ceil(k / 8) bytes: each block starts a byte, its last byte is padded with zeros
    std::span<std::uint8_t> ok;            // B: 1 where every check holds and no information bit is undecided (a-posteriori exactly 0)
    std::span<std::uint16_t> iterations;   // B: how many were run
};

}  // namespace featcodec::ldpc
