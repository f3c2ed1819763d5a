// Picks decoders by instruction set and number of blocks, and shares batches out to threads.
#include "ldpc/coder.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels.hpp"
#include "ldpc/llr_steps.hpp"
#include "ldpc/sum_product.hpp"
#include "ldpc/syndrome.hpp"
#include "threads.hpp"

namespace featcodec::ldpc {
namespace {

constexpr std::size_t kInlineBits = 1 << 16;  // a batch below this is not worth waking threads for
constexpr std::size_t kStepsBytes = 1 << 21;  // of LLRs made int8 before they are decoded,
constexpr std::size_t kLeastSteps = 256;      // but not fewer blocks

std::size_t bytes_of(std::size_t bits) { return (bits + 7) / 8; }

// Calls task(first, count) for runs of blocks, a multiple of `unit` each but the last.
template <typename Task>
void for_runs(std::size_t blocks, std::size_t bits, std::size_t unit, const Task& task) {
    const std::size_t threads = num_threads();
    if (blocks == 0) return;
    if (threads < 2 || blocks < 2 || blocks * bits < kInlineBits) {
        task(std::size_t{0}, blocks);
        return;
    }
    const std::size_t units = (blocks + unit - 1) / unit;
    const std::size_t run = (units + 4 * threads - 1) / (4 * threads) * unit;
    parallel_for((blocks + run - 1) / run, [&](std::size_t i) { task(i * run, std::min(run, blocks - i * run)); });
}

Decoded part(const Decoded& out, std::size_t k, std::size_t first, std::size_t count) {
    return {out.bits.subspan(first * bytes_of(k), count * bytes_of(k)), out.ok.subspan(first, count), out.iterations.subspan(first, count)};
}

// Calls decode(steps, start, some) with the steps of `count` blocks of n LLRs from block `first` on: as they came,
template <typename Decode>
void in_steps(std::span<const std::int8_t> llr, std::size_t n, std::size_t first, std::size_t count, const Decode& decode) {
    decode(llr.subspan(first * n, count * n), first, count);
}

// or made of floats, as many blocks at a time as the cache holds and the decoders across blocks want.
template <typename Decode>
void in_steps(std::span<const float> llr, std::size_t n, std::size_t first, std::size_t count, const Decode& decode) {
    const LlrStepsFunction make = current_kernels().llr_steps;
    const std::size_t most = std::min(count, std::max(kStepsBytes / n, kLeastSteps));
    thread_local std::vector<std::int8_t> kept;  // from call to call: fresh pages can cost more than the decoding
    std::vector<std::int8_t> large;
    std::vector<std::int8_t>& steps = most * n <= kStepsBytes ? kept : large;
    if (steps.size() < most * n) steps.resize(most * n);
    for (std::size_t done = 0; done < count;) {
        const std::size_t some = std::min(most, count - done), size = some * n;
        if (!make(llr.data() + (first + done) * n, size, steps.data())) throw std::invalid_argument("an LLR is NaN");
        decode(std::span<const std::int8_t>{steps.data(), size}, first + done, some);
        done += some;
    }
}

}  // namespace

void llr_steps(std::span<const float> llr, std::span<std::int8_t> steps) {
    const LlrStepsFunction make = current_kernels().llr_steps;
    const std::size_t runs = (llr.size() + kInlineBits - 1) / kInlineBits;
    parallel_for(runs, [&](std::size_t i) {
        const std::size_t first = i * kInlineBits, count = std::min(kInlineBits, llr.size() - first);
        if (!make(llr.data() + first, count, steps.data() + first)) throw std::invalid_argument("an LLR is NaN");
    });
}

Coder::Coder(Code code) : code_(std::move(code)) {}

const Encoder& Coder::encoder() const {
    const Isa isa = current_isa();
    return encoder_[static_cast<std::size_t>(isa)].get(code_, kernels_of(isa).encode);
}

const single::Plan& Coder::single_plan() const {
    const Isa isa = current_isa();
    return single_[static_cast<std::size_t>(isa)].get(code_, isa);
}

void Coder::encode(std::span<const std::uint8_t> info, std::span<std::uint8_t> sent, std::size_t blocks) const {
    const std::size_t in = bytes_of(code_.k), out = bytes_of(code_.n);
    const Encoder& plan = encoder();
    for_runs(blocks, code_.n, 8, [&](std::size_t first, std::size_t count) {
        plan.encode(info.subspan(first * in, count * in), sent.subspan(first * out, count * out), count);
    });
}

void Coder::encode_mother(std::span<const std::uint8_t> info, std::span<std::uint8_t> mother, std::size_t blocks) const {
    encoder().encode_mother(info, mother, blocks);
}

template <typename Llr>
void Coder::min_sum(std::span<const Llr> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const {
    const FramesKernel* const frames = current_kernels().frames;
    // A group of lanes costs the same however many are filled, 35 times what one block alone does (AVX-512).
    const bool many = frames != nullptr && blocks >= frames->lanes * 5 / 8;
    const single::Plan* const single = many ? nullptr : &single_plan();
    const FramesTables* const tables = many ? &frames_.get(code_) : nullptr;
    for_runs(blocks, code_.n, many ? frames->lanes : 1, [&](std::size_t first, std::size_t count) {
        in_steps(llr, code_.n, first, count, [&](std::span<const std::int8_t> from, std::size_t start, std::size_t some) {
            const Decoded to = part(out, code_.k, start, some);
            if (many) {
                decode_min_sum_frames(*frames, *tables, from, some, max_iterations, early_stop, to);
            } else {
                single::decode(*single, from, some, max_iterations, early_stop, to);
            }
        });
    });
}

void Coder::decode_min_sum(std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const {
    min_sum(llr, blocks, max_iterations, early_stop, out);
}

void Coder::decode_min_sum(std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const {
    min_sum(llr, blocks, max_iterations, early_stop, out);
}

void Coder::decode_sum_product(std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) const {
    const Isa isa = current_isa();
    for_runs(blocks, code_.n, 1, [&](std::size_t first, std::size_t count) {
        const auto from = llr.subspan(first * code_.n, count * code_.n);
        ldpc::decode_sum_product(isa, code_, from, count, max_iterations, early_stop, part(out, code_.k, first, count));
    });
}

template <typename Llr>
void Coder::erasure(std::span<const Llr> llr, std::size_t blocks, Decoded out) const {
    const ErasurePlan& plan = erasure_.get(code_);
    ErasureOptions options;
    options.kernels = &current_kernels().erasure;
    for_runs(blocks, code_.n, 1, [&](std::size_t first, std::size_t count) {
        in_steps(llr, code_.n, first, count, [&](std::span<const std::int8_t> from, std::size_t start, std::size_t some) {
            ldpc::decode_erasure(plan, from, some, part(out, code_.k, start, some), {}, options);
        });
    });
}

void Coder::decode_erasure(std::span<const std::int8_t> llr, std::size_t blocks, Decoded out) const { erasure(llr, blocks, out); }
void Coder::decode_erasure(std::span<const float> llr, std::size_t blocks, Decoded out) const { erasure(llr, blocks, out); }

void Coder::decode_erasure_packed(std::span<const std::uint8_t> sent, std::span<const std::uint8_t> erased, std::size_t blocks, Decoded out) const {
    const ErasurePlan& plan = erasure_.get(code_);
    ErasureOptions options;
    options.kernels = &current_kernels().erasure;
    const std::size_t bytes = bytes_of(code_.n);
    for_runs(blocks, code_.n, 1, [&](std::size_t first, std::size_t count) {
        ldpc::decode_erasure_packed(plan, sent.subspan(first * bytes, count * bytes), erased.subspan(first * bytes, count * bytes), count,
                                    part(out, code_.k, first, count), {}, options);
    });
}

bool Coder::complete_erasure(std::span<const std::int8_t> llr, unsigned most, std::span<std::uint8_t> info, std::vector<std::uint8_t>& freedom) const {
    ErasureOptions options;
    options.kernels = &current_kernels().erasure;
    return ldpc::complete_erasure(erasure_.get(code_), llr, most, info, freedom, options);
}

void Coder::syndrome_weight(std::span<const std::uint8_t> mother, std::span<std::uint32_t> weight, std::size_t blocks) const {
    ldpc::syndrome_weight(code_, mother, weight, blocks);
}

}  // namespace featcodec::ldpc
