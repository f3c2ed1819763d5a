// What the plain file and the vector files of the decoder across frames share: plain structs and the kernels' declarations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec::ldpc {

inline constexpr unsigned kMostCheckBits = 24;  // the standard matrices have up to 22 in a check

// `count` mother bits from `mother` on take the LLRs from `sent` on; where `add`, they already hold some and the new ones are added.
struct LoadRun {
    std::uint32_t sent, mother, count, add;
};

// `count` mother bits from `mother` on start at `value`: 0 where unsent, 127 where known to be 0.
struct FillRun {
    std::uint32_t mother, count;
    std::int32_t value;
};

// A code as the kernels walk it. Pointers are borrowed.
struct FramesPlan {
    std::uint32_t k, n, z, rows, cols;
    std::uint32_t repeats;               // some mother bit is sent more than once
    const std::uint32_t* row_begin;      // rows + 1 places in edge_col and edge_shift
    const std::uint16_t* edge_col;
    const std::uint16_t* edge_shift;
    const std::uint32_t* check_bits;     // for each row, for each of its z checks, each edge: eight times the mother bit
    const LoadRun* loads;
    const FillRun* fills;
    std::size_t num_loads, num_fills, num_messages;
};

struct FramesJob {
    const std::int8_t* llr;
    std::size_t blocks;
    std::uint32_t max_iterations;
    bool early_stop;
    std::uint8_t* bits;
    std::uint8_t* ok;
    std::uint16_t* iterations;
};

// One instruction set's decoder: `lanes` frames at a time. Workspace: workspace_bytes(plan) bytes, aligned to 64, of any content.
struct FramesKernel {
    unsigned lanes;
    std::size_t (*workspace_bytes)(const FramesPlan& plan);
    void (*decode)(const FramesPlan& plan, const FramesJob& job, void* workspace);
};

extern const FramesKernel kFramesAvx2, kFramesAvx512;

}  // namespace featcodec::ldpc
