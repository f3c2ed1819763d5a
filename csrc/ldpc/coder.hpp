// A code made ready: its encoder and its decoders' plans, made once, used from any thread; batches in parallel.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "cpu.hpp"
#include "ldpc/encoder.hpp"
#include "ldpc/erasure.hpp"
#include "ldpc/ldpc.hpp"
#include "ldpc/min_sum_frames.hpp"
#include "ldpc/single.hpp"

namespace featcodec::ldpc {

// LLRs in nats to int8 steps, as llr_steps.hpp says; std::invalid_argument where one is NaN.
void llr_steps(std::span<const float> llr, std::span<std::int8_t> steps);

class Coder {
public:
    explicit Coder(Code code);

    const Code& code() const { return code_; }

    // B blocks of ceil(k / 8) packed bytes -> of ceil(n / 8) packed bytes, or of ceil(mother_bits / 8). Padding bits are zero.
    void encode(std::span<const std::uint8_t> info, std::span<std::uint8_t> sent, std::size_t blocks) const;
    void encode_mother(std::span<const std::uint8_t> info, std::span<std::uint8_t> mother, std::size_t blocks) const;

    // B blocks of n LLRs. Layered offset min-sum in fixed point: across blocks where there are many, across the rows of one where there are few.
    // Floats are nats, made steps as llr_steps.hpp says; std::invalid_argument where one is NaN.
    void decode_min_sum(std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const;
    void decode_min_sum(std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const;
    // Layered sum-product in float, in nats: the oracle.
    void decode_sum_product(std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const;
    // llr < 0 is a sure 1, > 0 a sure 0, 0 erased: peeling, then elimination, which is maximum likelihood. ok is 0 where an information bit stays
    // undetermined (it is then 0 in `bits`) or the sure bits contradict a check; iterations: rounds of peeling.
    void decode_erasure(std::span<const std::int8_t> llr, std::size_t blocks, Decoded out) const;
    void decode_erasure(std::span<const float> llr, std::size_t blocks, Decoded out) const;
    // The same from packed bits: B blocks of ceil(n / 8) bytes each; a 1 in `erased` makes the bit of `sent` unknown, whatever it is.
    void decode_erasure_packed(std::span<const std::uint8_t> sent, std::span<const std::uint8_t> erased, std::size_t blocks, Decoded out) const;

    // complete_erasure of erasure.hpp, of one block.
    bool complete_erasure(std::span<const std::int8_t> llr, unsigned most, std::span<std::uint8_t> info, std::vector<std::uint8_t>& freedom) const;

    // How many checks fail for packed mother codewords.
    void syndrome_weight(std::span<const std::uint8_t> mother, std::span<std::uint32_t> weight, std::size_t blocks) const;

private:
    template <typename Llr>
    void min_sum(std::span<const Llr> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const;
    template <typename Llr>
    void erasure(std::span<const Llr> llr, std::size_t blocks, Decoded out) const;

    // What is made from a code when it is first used: plans take longer to make than a block to decode.
    template <typename Plan>
    class Lazily {
    public:
        template <typename... Arguments>
        const Plan& get(const Arguments&... arguments) {
            std::call_once(once_, [&] { plan_ = std::make_unique<Plan>(arguments...); });
            return *plan_;
        }

    private:
        std::once_flag once_;
        std::unique_ptr<Plan> plan_;
    };

    const Encoder& encoder() const;
    const single::Plan& single_plan() const;

    Code code_;
    mutable Lazily<ErasurePlan> erasure_;
    mutable Lazily<FramesTables> frames_;
    mutable std::array<Lazily<Encoder>, std::size(kAllIsas)> encoder_;
    mutable std::array<Lazily<single::Plan>, std::size(kAllIsas)> single_;
};

}  // namespace featcodec::ldpc
