// Layered offset min-sum of one frame at a time, vectorised over the rows of a block row. For few blocks; decisions equal those of the decoder over many.
#pragma once

#include "cpu.hpp"
#include "ldpc.hpp"
#include "single_kernel.hpp"

namespace featcodec::ldpc::single {

// A code's decoding schedule for one instruction set, built once; each decodes to the same bits. Not changed by decoding: threads may share it.
class Plan {
   public:
    Plan(const Code& code, Isa isa);

    View view() const;  // valid as long as the plan
    DecodeBlock decode_block() const { return decode_block_; }
    std::size_t workspace_size() const { return workspace_size_; }
    unsigned k() const { return shape_.k; }
    unsigned n() const { return n_; }

   private:
    void choose_layout(Isa isa);
    void lay_out_workspace(std::size_t num_edges);
    void schedule(const Matrix& matrix);

    View shape_;  // every field but the pointers
    unsigned n_ = 0;
    std::uint32_t stride_ = 0, copy_ = 0;  // bytes from column to column; from a column's first place to its second
    std::size_t workspace_size_ = 0;
    DecodeBlock decode_block_ = nullptr;
    std::vector<std::uint8_t> degrees_, ring_;
    std::vector<Edge> edges_[2], checks_[2];
    std::vector<Column> columns_[2];
    std::vector<Part> parts_;
};

// Blocks of n values in, as Decoded describes out; max_iterations >= 1. Sizes are trusted.
void decode(const Plan& plan, std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out);

}  // namespace featcodec::ldpc::single
