// The encoder's kernel: what the plan of a code and the builds of the kernel share. Plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec::ldpc {

// Columns are kept doubled (z bits, then the same again), so that a rotation is a read at another bit. This is where: a 64-bit word, and a bit of it.
struct Rotation {
    std::uint16_t word;
    std::uint8_t bit;
};

// `count` sent bits from `to` on are the mother codeword's from `from` on.
struct BitRun {
    std::uint32_t to, from, count;
};

struct EncodePlan {
    unsigned z, words;                // words of a column; 0: a column and its copy fit one word together (z <= 32)
    unsigned info_cols, rows, core_rows;
    const Rotation* rotations;        // row by row: the blocks that are summed to that row's parity
    const std::uint32_t* row_begin;   // rows + 1
    Rotation solve;                   // turns the sum of the core's rows into the first parity column
    const Rotation* first_parity;     // core_rows: its blocks in the core's rows,
    const std::uint8_t* has_first_parity;  // where there is one
    const BitRun* runs;               // none where the sent bits are the mother codeword's first ones
    std::size_t run_count;
};

constexpr unsigned kMaxCoreRows = 12, kMaxDoubledCols = 26;  // 802.11n rate 1/2; NR BG1's 22 information and 4 core parity columns
constexpr unsigned kEncodeSlackWords = 8;                   // columns are read and written in whole words past their end

// Encodes `lanes` blocks at once. Words hold the first bit on top; word i of block b lies at [i * lanes + b]. mother: the information bits, then zeros, in;
// the whole codeword out. sent: zeros in; the runs of the mother codeword out.
using EncodeFunction = void (*)(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent);
struct EncodeKernel {
    EncodeFunction run;
    unsigned lanes;
};

void encode_words_scalar(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent);  // 1 lane
void encode_words_avx2(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent);    // 4 lanes
void encode_words_avx512(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent);  // 8 lanes

inline constexpr EncodeKernel kEncodeScalar = {encode_words_scalar, 1};

}  // namespace featcodec::ldpc
