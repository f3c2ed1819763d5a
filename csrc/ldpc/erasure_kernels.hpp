// What the erasure decoder asks of an instruction set: plain structs and a table of functions, one table per level.
//
// A block column is a word of z bits, bit r of it in bit r % 64 of word r / 64. Two such words stand for it: `erased` and `value` (0 where erased).
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec::ldpc {

inline constexpr unsigned kMaxLifting = 384;
inline constexpr unsigned kMaxLanes = 8;                     // 64-bit words of the widest column, 6, rounded up to a vector
inline constexpr unsigned kExtensionWords = 3 * kMaxLanes;   // three periods

// Where a column meets a block row.
struct Meeting {
    std::uint16_t other;  // the row of a column's list, the column of a row's list
    std::uint16_t shift;
};

// One block of the matrix. Reading a column as a row sees it is a rotation by s; writing back rotates by z - s.
struct PeelEdge {
    std::uint64_t bit, rest;            // shift right, and left for the word above
    std::uint64_t back_bit, back_rest;  // the same for the way back
    std::uint32_t column;               // word offset of the column's erased plane
    std::uint16_t word, back_word;      // whole words of the rotations; 0 where z <= 64
};

// A periodic sequence from z bits, z > 64: each of its words is made of up to three shifted words of the source. A shift of 64 gives none.
struct Extension {
    std::uint64_t low[kExtensionWords], low_right[kExtensionWords];   // word `low` >> low_right
    std::uint64_t high[kExtensionWords], high_left[kExtensionWords];  // | word `high` << high_left
    std::uint64_t wrap_left[kExtensionWords];                         // | word 0 << wrap_left
    std::uint32_t low_halves[2 * kExtensionWords], high_halves[2 * kExtensionWords];  // the same indices, for shuffles of 32-bit halves
};

// Planes: for each column `stride` words of erased, then `stride` of value. z <= 64: stride 1. Else both hold two periods of the column, so that a
// rotation is a load at a word offset and one shift: stride is 2 * lanes.
struct PeelView {
    unsigned rows = 0, columns = 0, z = 0;
    unsigned words = 0;   // that z bits fill
    unsigned lanes = 0;   // words rounded up to a power of 2
    unsigned stride = 0;
    std::uint64_t mask[kMaxLanes]{};
    const std::uint32_t* row_begin = nullptr;  // rows + 1 places in edges
    const PeelEdge* edges = nullptr;
    const Meeting* meetings = nullptr;  // the same blocks
    const Extension* extension = nullptr;
};

struct PeelState {
    std::uint64_t* planes = nullptr;
    std::uint64_t* row_values = nullptr;  // rows * lanes: out: XOR of the known neighbours, valid for the rows in todo where peeling stuck
    std::uint16_t* todo = nullptr;        // rows: out: the block rows that still have erased neighbours
    unsigned todo_count = 0;
    bool contradiction = false;           // out: a check with no erased neighbour failed
};

// Many frames side by side: bit f % 64 of lane f / 64 is frame f's. For each mother bit `lanes` words of erased, then `lanes` of value.
struct AcrossState {
    std::uint64_t* bits = nullptr;    // 64-byte aligned
    std::uint8_t* settled = nullptr;  // a byte for each check, to work in
    std::uint16_t* rounds = nullptr;  // by frame: out, as peel returns it
    std::uint64_t stuck[kMaxLanes]{}, bad[kMaxLanes]{};  // out: frames with erased bits left, frames with a contradiction
};

struct ErasureKernels {
    // n LLRs -> ceil(n / 64) words each, bit i % 64 of word i / 64 for LLR i; zero past the end.
    void (*pack_llr)(const std::int8_t* llr, std::size_t n, std::uint64_t* erased, std::uint64_t* value);
    // Turns each byte around.
    void (*reverse_bits)(const std::uint8_t* from, std::size_t bytes, std::uint8_t* to);
    // Mother bits as one bit string (readable for lanes + 1 words past its end) -> planes.
    void (*spread)(const PeelView& view, const std::uint64_t* erased, const std::uint64_t* value, std::uint64_t* planes);
    // Sweeps the block rows until nothing moves; returns the number of sweeps.
    unsigned (*peel)(const PeelView& view, PeelState& state);
    // to ^= from
    void (*add_row)(std::uint64_t* to, const std::uint64_t* from, std::size_t words);
    // Many frames: lanes of 64 frames, 0 where the level has no such kernel.
    unsigned across_lanes;
    // The bit matrices in the lanes of 64 rows, turned over; `step` words lie between rows.
    void (*transpose_across)(const std::uint64_t* from, std::uint64_t* to, std::size_t step);
    void (*peel_across)(const PeelView& view, AcrossState& state);
};

extern const ErasureKernels kErasureScalar;
#if defined(FEATCODEC_X86)
extern const ErasureKernels kErasureAvx2, kErasureAvx512, kErasureAvx512Vbmi;
#endif

}  // namespace featcodec::ldpc
