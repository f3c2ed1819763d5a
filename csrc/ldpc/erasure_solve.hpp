// Elimination on what peeling leaves: maximum likelihood over the binary erasure channel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "erasure.hpp"

namespace featcodec::ldpc {

// Inactivation decoding. Where peeling sticks, one unknown is set aside and peeling goes on as if it were known: each later unknown becomes a sum of
// set-aside ones and a constant. The checks that peeling did not use are then a small dense system in the set-aside unknowns alone.
// Keeps its buffers from block to block.
class ErasureSolver {
public:
    // planes, todo and row_values as peel left them. Writes the value of each unknown that is determined into the planes' first period and clears
    // its erasure there. False where a check is contradicted.
    bool solve(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state);
    // As solve, where that leaves at most `most` dimensions open: an erased information bit of `info` (packed, ceil(k / 8) bytes, 0 there) gets its value where all
    // that is free is 0, and `freedom` one such string of bytes for each free dimension, the bits that change with it. False where a check is contradicted
    // or more is open.
    bool complete(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state, unsigned most, std::span<std::uint8_t> info,
                  std::vector<std::uint8_t>& freedom);
    std::size_t unknowns() const { return position_.size(); }
    std::size_t set_aside() const { return aside_.size(); }
    // Gives back what an unusually large block took.
    void trim(std::size_t most_bytes);

private:
    enum class Status : std::uint8_t { open, summed, aside };
    struct Step {
        std::uint32_t unknown, check;
    };

    void list_unknowns(const ErasurePlan& plan, const PeelState& state);
    std::size_t open_checks() const;
    void order(const ErasurePlan& plan);
    void remove(const ErasurePlan& plan, std::uint32_t unknown);
    void check_shrank(const ErasurePlan& plan, std::uint32_t check);
    std::uint32_t choose();
    void express(const ErasurePlan& plan, const ErasureKernels& kernels);
    void sum_check(const ErasurePlan& plan, const ErasureKernels& kernels, std::uint32_t check, std::uint32_t but, std::uint64_t* sum) const;
    bool make_pivots(const ErasurePlan& plan, const ErasureKernels& kernels);
    bool insert(const ErasureKernels& kernels, std::uint64_t* row);
    void settle_all(const ErasurePlan& plan, PeelState& state);
    void reduce_rows(const ErasureKernels& kernels);
    void reduce_sum(const ErasureKernels& kernels, std::uint64_t* sum) const;
    void settle_some(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state);
    bool spare_checks_hold(const ErasurePlan& plan, const PeelState& state) const;
    void write(const ErasurePlan& plan, PeelState& state, std::uint32_t unknown, bool value) const;
    void add(const ErasureKernels& kernels, std::uint64_t* to, const std::uint64_t* from, std::size_t words) const;
    std::uint64_t* sum_of(std::uint32_t unknown) { return sums_.data() + unknown * words_; }
    const std::uint64_t* sum_of(std::uint32_t unknown) const { return sums_.data() + unknown * words_; }
    template <class Visit>
    void each_unknown(const ErasurePlan& plan, std::uint32_t check, Visit visit) const;

    std::vector<std::int32_t> unknown_at_;  // by mother bit: its unknown or -1
    std::vector<std::uint32_t> position_;   // by unknown: its mother bit
    std::vector<Status> status_;
    std::vector<std::uint32_t> score_;      // how much setting it aside would help
    std::vector<std::uint8_t> open_count_;  // by check: open unknowns ...
    std::vector<std::uint32_t> open_xor_;   // ... and the XOR of their numbers: the number itself where there is one
    std::vector<std::uint8_t> check_value_; // XOR of the known neighbours
    std::vector<std::uint8_t> kind_;        // by check: 0 without unknowns, 1 spare, 2 used
    std::vector<std::uint32_t> ready_, aside_, open_list_;
    std::vector<Step> steps_;
    std::size_t words_ = 0;                 // of a sum: one bit for each set-aside unknown, then the constant
    std::vector<std::uint64_t> sums_, rows_, scratch_, pivots_;
    std::vector<std::int32_t> pivot_row_;
    std::size_t rank_ = 0;
};

}  // namespace featcodec::ldpc
