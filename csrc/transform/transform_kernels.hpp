// The ISA-dependent operations of the transform, as function pointers: one table per level, the same integers from each.
// Plain structs and declarations only: an ISA file that included an inline function could leave its body to the linker.
//
// WHY EVERY LEVEL GIVES THE SAME INTEGERS
//
// A row's absolutes sum to at most 61440, and it meets integers of 16 bits (matrix.hpp, row_fits; dct.hpp). Then every partial sum of the
// products, in any order, is at most 61440 * 2^15 in magnitude, and with a rounding's addend, at most 2^25, it stays below 2^31: addition
// is exact and its order free. No pair of products reaches the one sum that pmaddwd wraps, 2^31.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec {

inline constexpr std::size_t kPanelRows = 16;    // rows of a matrix that lie together
inline constexpr std::size_t kLaneAlign = 32;   // integers of 16 bits that combine() takes at a time

// Rows of a matrix of int16, kPanelRows together, zeros where the last of them are none. In a panel lie for each pair of columns the two
// numbers of its first row, of its second, ...: one pair of a vector meets a pair of columns of all rows at once.
struct Panels {
    const std::int16_t* numbers;  // [panels][pairs][kPanelRows][2]
    const std::int32_t* addends;  // [panels][kPanelRows]: 2^(shift - 1), or 0 where there is no shift
    const std::int32_t* shifts;   // [panels][kPanelRows]: 0..24
    std::size_t panels;           // so many are multiplied
    std::size_t pairs;            // of columns, so many are multiplied
    std::size_t stride;           // numbers from one panel to the next
};

// Vectors, each contiguous, `stride` numbers from one to the next.
struct InVectors {
    const std::int16_t* at;
    std::size_t stride;
    std::size_t count;
};

// Sums over few rows of long ones: out[r][i] = the sum over c of m[r][c] * in[c][i], shifted and saturated.
struct Combination {
    const std::int16_t* numbers;  // [rows][stride], columns up to an even number there and zero
    std::size_t stride;
    std::size_t rows;
    std::size_t columns;
    unsigned shift;               // 0..26, of every row
};

inline constexpr std::size_t kTileSide = 8;

// kTileSide maps of values at as many positions: floats map by map, integers position by position.
struct Tile {
    const std::uint32_t* at;       // [kTileSide]: where each position's integers lie, of a first map
    const std::uint32_t* mean_at;  // [kTileSide]: and its means
    const std::int16_t* means;
    float unit;                    // a power of two
    const float* from;             // row i is of map i
    float* to;
    std::size_t stride;            // of rows
    std::int16_t* integers;
};

struct TransformKernels {
    const char* name;
    // out[v][row] = (sum + addend) >> shift for 16 * panels rows and every vector, of which 2 * pairs numbers are read.
    // Saturated to int16, or as they are.
    void (*multiply16)(const Panels& matrix, const InVectors& in, std::int16_t* out, std::size_t out_stride);
    void (*multiply32)(const Panels& matrix, const InVectors& in, std::int32_t* out, std::size_t out_stride);
    // `length` is a multiple of kLaneAlign; rows of `in` and `out` lie in_stride and out_stride numbers apart; out is not in.
    void (*combine)(const Combination& matrix, const std::int16_t* in, std::size_t in_stride, std::size_t length, std::int16_t* out,
                    std::size_t out_stride);
    // integers = rint(x * unit) - mean, ties to even; false where one may be an escape (transform.hpp), whatever is then written.
    // Null where a level has none. They expect the default floating-point environment.
    bool (*tile_in)(const Tile& tile);
    // x = (integers + mean) * unit, exactly
    void (*tile_out)(const Tile& tile);
};

bool tile_in_avx2(const Tile& tile);
void tile_out_avx2(const Tile& tile);

extern const TransformKernels kTransformScalar, kTransformAvx2, kTransformAvx512, kTransformNeon;

}  // namespace featcodec
