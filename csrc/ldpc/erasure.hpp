// Decoding erasures: a plan made once from a Code, and maximum-likelihood decoders over int8 LLRs or packed bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "erasure_kernels.hpp"
#include "ldpc.hpp"

namespace featcodec::ldpc {

// What the decoder needs of a code, in the order it needs it. Moves, does not copy. Safe to share between threads.
class ErasurePlan {
public:
    explicit ErasurePlan(const Code& code);
    ErasurePlan(ErasurePlan&&) = default;
    ErasurePlan& operator=(ErasurePlan&&) = default;
    ErasurePlan(const ErasurePlan&) = delete;
    ErasurePlan& operator=(const ErasurePlan&) = delete;

    unsigned k() const { return k_; }
    unsigned n() const { return n_; }
    unsigned z() const { return view_.z; }
    unsigned info_columns() const { return info_columns_; }
    unsigned mother_bits() const { return view_.columns * view_.z; }
    unsigned checks() const { return view_.rows * view_.z; }
    bool sent_whole() const { return sent_whole_; }  // the mother code, bit for bit: nothing shortened, punctured or repeated
    const std::vector<Segment>& segments() const { return segments_; }
    const PeelView& view() const { return view_; }
    std::span<const Meeting> of_row(unsigned row) const { return {by_row_.data() + row_begin_[row], by_row_.data() + row_begin_[row + 1]}; }
    std::span<const Meeting> of_column(unsigned col) const { return {by_column_.data() + column_begin_[col], by_column_.data() + column_begin_[col + 1]}; }

private:
    void list_blocks(const Matrix& matrix);
    void make_edges();

    unsigned k_, n_, info_columns_;
    bool sent_whole_;
    PeelView view_;
    std::vector<Segment> segments_;
    std::vector<std::uint32_t> row_begin_, column_begin_;
    std::vector<Meeting> by_row_, by_column_;
    std::vector<PeelEdge> edges_;
    std::vector<Extension> extension_;  // one, or none where z <= 64
};

// The level in use is the caller's choice. `undetermined`, where not empty, gets B * ceil(k / 8) bytes: 1 for each information bit that stays unknown.
// With `eliminate` false peeling is all: faster where a failed block is asked for again anyway.
struct ErasureOptions {
    const ErasureKernels* kernels = &kErasureScalar;
    bool eliminate = true;
};

// llr: B * n. The rest as decode_erasure of ldpc.hpp says.
void decode_erasure(const ErasurePlan& plan, std::span<const std::int8_t> llr, std::size_t blocks, Decoded out,
                    std::span<std::uint8_t> undetermined = {}, ErasureOptions options = {});
// sent, erased: B * ceil(n / 8) bytes each, a 1 in `erased` making the bit unknown.
void decode_erasure_packed(const ErasurePlan& plan, std::span<const std::uint8_t> sent, std::span<const std::uint8_t> erased, std::size_t blocks,
                           Decoded out, std::span<std::uint8_t> undetermined = {}, ErasureOptions options = {});

// Every information word that one block of n LLRs can be: `info` (ceil(k / 8) bytes) and any XOR of the words of `freedom` (as many bytes each; a word may be 0
// or a XOR of others) with it. False where a check is contradicted, or `most` free words are too few.
bool complete_erasure(const ErasurePlan& plan, std::span<const std::int8_t> llr, unsigned most, std::span<std::uint8_t> info,
                      std::vector<std::uint8_t>& freedom, ErasureOptions options = {});

}  // namespace featcodec::ldpc
