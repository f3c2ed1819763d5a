// What the one-frame min-sum kernels read: a decoding plan as plain data, and the entry point of each instruction set. No algorithms here.
//
// Bytes of one base column stand side by side in the workspace, in the rotation in which the column was last used: byte i of a column that was last
// used with shift s is bit (i + s) mod z. A use with shift s' then turns it by the constant (s' - s) mod z only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec::ldpc::single {

inline constexpr int kClip = 31;             // channel values and the magnitudes that enter a check are clipped here
inline constexpr int kOffset = 1;            // subtracted from the magnitude that leaves a check
inline constexpr int kLimit = 127;           // sums of repeated channel values saturate at +-kLimit; all else at int8's own limits
inline constexpr unsigned kMaxDegree = 22;   // the largest check degree: what the kernels are unrolled to
inline constexpr unsigned kMaxLanes = 64;    // bytes of the widest vector: what every buffer is padded by

// How a kernel keeps a column.
enum class Layout : std::uint8_t {
    mirrored,  // the z bytes twice in a row: any turn is one unaligned load
    turned,    // once, in one vector: a turn is a byte permutation
};

// One block of the matrix, in the order of decoding. Offsets count from the workspace's first column.
struct Edge {
    std::uint32_t read = 0;   // where the column stands before this use; a mirrored column's turn is already added
    std::uint32_t write = 0;  // where it stands after it. Not `read` where a column has several vectors: they must not overwrite what is still to be read
    std::uint32_t turn = 0;   // how far this use rotates it
};

struct Column {
    std::uint32_t home = 0;  // where it stands between two iterations
    std::uint32_t last = 0;  // the rotation it stands in
    std::uint32_t back = 0;  // the turn that brings bit 0 to byte 0: (z - last) mod z
};

struct Part {
    std::uint32_t sent = 0, mother = 0, count = 0;
};

// Columns with several vectors change place at each use, so one with an odd number of uses stands elsewhere after every other iteration: hence [2],
// the schedule of even (first, third, ...) and of odd iterations.
struct View {
    Layout layout = Layout::mirrored;
    std::uint32_t lanes = 0;   // bytes per vector
    std::uint32_t chunks = 0;  // vectors per column
    std::uint32_t z = 0, rows = 0, cols = 0, k = 0, known_begin = 0, known_end = 0, mother_bits = 0;
    bool repeats = false;                    // some mother bit is sent more than once
    const std::uint8_t* degrees = nullptr;   // per row
    const Edge* edges[2] = {};               // row after row
    const Edge* checks[2] = {};              // the same blocks seen from where the columns stand after the iteration; `write` unused
    const Column* columns[2] = {};           // where the columns stand before the iteration
    const std::uint8_t* ring = nullptr;      // turned only: i mod z for i in [0, 2 z + kMaxLanes): the permutation of any turn
    const Part* parts = nullptr;             // which mother bits the sent values belong to
    std::uint32_t num_parts = 0;
    std::uint32_t messages = 0, messages_size = 0;  // workspace offset and bytes of R
    std::uint32_t natural = 0, natural_size = 0;    // workspace offset and bytes of the mother bits in their own order
};

struct Outcome {
    bool ok = false;
    std::uint16_t iterations = 0;
};

// Decodes one block; `work` is aligned to 64 bytes and as large as the plan says, `bits` holds ceil(k / 8) bytes.
using DecodeBlock = Outcome (*)(const View& view, const std::int8_t* llr, unsigned max_iterations, bool early_stop, std::int8_t* work, std::uint8_t* bits);

Outcome decode_block_scalar(const View&, const std::int8_t*, unsigned, bool, std::int8_t*, std::uint8_t*);
#ifdef FEATCODEC_X86
Outcome decode_block_avx2(const View&, const std::int8_t*, unsigned, bool, std::int8_t*, std::uint8_t*);
Outcome decode_block_avx512(const View&, const std::int8_t*, unsigned, bool, std::int8_t*, std::uint8_t*);
Outcome decode_block_avx512vbmi(const View&, const std::int8_t*, unsigned, bool, std::int8_t*, std::uint8_t*);
#endif

}  // namespace featcodec::ldpc::single
