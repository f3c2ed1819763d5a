// The layered offset min-sum decoder across frames: one vector lane is one frame.
#pragma once

#include "frames_kernel.hpp"
#include "ldpc.hpp"

namespace featcodec::ldpc {

// A code as flat tables, made once and then shared by any number of threads. The code is not needed any more.
class FramesTables {
public:
    explicit FramesTables(const Code& code);
    FramesTables(const FramesTables&) = delete;  // the plan points into the vectors
    FramesTables& operator=(const FramesTables&) = delete;
    const FramesPlan& plan() const { return plan_; }

private:
    void list_edges(const Code& code);
    void list_loads(const Code& code);

    std::vector<std::uint32_t> row_begin_, check_bits_;
    std::vector<std::uint16_t> edge_col_, edge_shift_;
    std::vector<LoadRun> loads_;
    std::vector<FillRun> fills_;
    FramesPlan plan_{};
};

// The same contract and the same result as decode_min_sum_scalar, on the given kernel's instruction set. The workspace is the calling thread's.
void decode_min_sum_frames(const FramesKernel& kernel, const FramesTables& tables, std::span<const std::int8_t> llr, std::size_t blocks,
                           unsigned max_iterations, bool early_stop, Decoded out);

}  // namespace featcodec::ldpc
