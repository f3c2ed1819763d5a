// The erasure decoder of a batch: LLRs or packed bits to columns, peeling, elimination where it sticks, information bits out.
#include "erasure.hpp"

#include <algorithm>
#include <cstring>

#include "erasure_solve.hpp"

namespace featcodec::ldpc {
namespace {

constexpr std::size_t kKeptBytes = std::size_t{4} << 20;  // that a thread's solver may keep between blocks
constexpr std::size_t kFullFor = 3;                       // eighths of the lanes that must be filled for frames side by side to pay
constexpr std::size_t kMostAcross = 20480;                 // mother bits: bounds the workspace of frames side by side, 256 bytes a bit
constexpr std::size_t kPad = kMaxLanes + 2;               // words that vector loads may touch past the end of a bit string

std::size_t words_for(std::size_t bits) { return (bits + 63) / 64; }

std::uint64_t word_at(const std::uint64_t* words, std::size_t at) { return (words[at / 64] >> (at % 64)) | ((words[at / 64 + 1] << 1) << (63 - at % 64)); }

// Words between the 64-bit groups of frames side by side while they are turned over: not a power of 2, or a frame's words would share one cache set.
std::size_t staging_step(std::size_t lanes) { return 128 * lanes + 24; }

// Bit i of a string is bit i % 64 of word i / 64.
struct BitStrings {
    std::vector<std::uint64_t> erased, value;
    void fit(std::size_t bits) {
        erased.resize(words_for(bits) + kPad);
        value.resize(words_for(bits) + kPad);
    }
};

struct Workspace {
    BitStrings sent, mother;
    std::vector<std::uint64_t> planes, row_values, info;
    std::vector<std::uint16_t> todo;
    std::vector<std::uint64_t> across;
    std::vector<std::uint8_t> settled;
    ErasureSolver solver;

    // Both on a line of the cache: the bits by mother bit, and what is turned over on the way in and out.
    std::uint64_t* across_bits() { return across.data() + (64 - reinterpret_cast<std::uintptr_t>(across.data()) % 64) / 8 % 8; }
    std::uint64_t* staging() { return across_bits() + staging_at; }
    std::size_t staging_at = 0;
    void fit_across(const ErasurePlan& plan, std::size_t lanes) {
        const std::size_t groups = words_for(plan.mother_bits());
        staging_at = groups * 128 * lanes;
        across.resize(staging_at + groups * staging_step(lanes) + 8);
        settled.resize(plan.checks());
    }
    void fit(const ErasurePlan& plan) {
        const PeelView& view = plan.view();
        sent.fit(plan.n());
        mother.fit(plan.mother_bits());
        planes.resize(std::size_t{2} * view.columns * view.stride);
        row_values.resize(std::size_t{view.rows} * view.lanes);
        info.resize(words_for(std::size_t{plan.info_columns()} * view.z) + kPad);
        todo.resize(view.rows);
    }
};

// Lays up to 64 bits into one word of the mother code. A bit sent before keeps its value; returns where two sure copies differ.
std::uint64_t place_word(const BitStrings& sent, std::size_t from, std::size_t at, std::size_t count, BitStrings& mother) {
    const std::size_t word = at / 64, bit = at % 64;
    const std::uint64_t mask = (~std::uint64_t{0} >> (64 - count)) << bit;
    const std::uint64_t known = ~(word_at(sent.erased.data(), from) << bit) & mask;
    const std::uint64_t value = (word_at(sent.value.data(), from) << bit) & known;
    const std::uint64_t fresh = known & mother.erased[word];
    const std::uint64_t clash = (mother.value[word] ^ value) & known & ~fresh;
    mother.value[word] |= value & fresh;
    mother.erased[word] &= ~fresh;
    return clash;
}

// Whole words where nothing was sent before.
void copy_words(const std::uint64_t* sent, std::size_t from, std::size_t words, std::uint64_t* mother) {
    const std::size_t bit = from % 64;
    sent += from / 64;
    for (std::size_t w = 0; w < words; ++w) mother[w] = (sent[w] >> bit) | ((sent[w + 1] << 1) << (63 - bit));
}

// Lays one segment into the mother code; false where it contradicts an earlier one.
bool place_segment(const BitStrings& sent, Segment segment, bool first_time, BitStrings& mother) {
    std::uint64_t clash = 0;
    for (std::size_t done = 0; done < segment.count;) {
        const std::size_t at = segment.mother + done, left = segment.count - done;
        if (first_time && at % 64 == 0 && left >= 64) {
            copy_words(sent.erased.data(), segment.sent + done, left / 64, mother.erased.data() + at / 64);
            copy_words(sent.value.data(), segment.sent + done, left / 64, mother.value.data() + at / 64);
            done += left / 64 * 64;
        } else {
            const std::size_t count = std::min<std::size_t>(64 - at % 64, left);
            clash |= place_word(sent, segment.sent + done, at, count, mother);
            done += count;
        }
    }
    return clash == 0;
}

void clear_range(std::vector<std::uint64_t>& words, std::size_t from, std::size_t to) {
    for (std::size_t at = from; at < to;) {
        const std::size_t count = std::min<std::size_t>(64 - at % 64, to - at);
        words[at / 64] &= ~((~std::uint64_t{0} >> (64 - count)) << (at % 64));
        at += count;
    }
}

bool place_mother(const ErasurePlan& plan, const BitStrings& sent, BitStrings& mother) {
    const std::size_t words = words_for(plan.mother_bits());
    std::fill_n(mother.erased.begin(), words, ~std::uint64_t{0});
    std::fill_n(mother.value.begin(), words, 0);
    clear_range(mother.erased, plan.k(), std::size_t{plan.info_columns()} * plan.z());  // known zeros
    bool consistent = true;
    std::size_t end = 0;  // of what was sent so far: segments go upwards through the mother code until the circular buffer starts again
    for (const Segment& segment : plan.segments()) {
        consistent &= place_segment(sent, segment, segment.mother >= end, mother);
        end = std::max<std::size_t>(end, segment.mother + segment.count);
    }
    return consistent;
}

// One plane of the information columns as ceil(k / 8) packed bytes.
void collect(const ErasurePlan& plan, const ErasureKernels& kernels, const std::uint64_t* plane, std::vector<std::uint64_t>& info, std::uint8_t* bytes) {
    const PeelView& view = plan.view();
    std::fill(info.begin(), info.end(), 0);
    std::size_t start = 0;
    for (unsigned col = 0; col < plan.info_columns(); ++col, start += view.z, plane += std::size_t{2} * view.stride) {
        std::size_t at = start;
        for (unsigned w = 0; w < view.words; ++w, at += 64) {
            const std::uint64_t bits = plane[w] & view.mask[w];
            info[at / 64] |= bits << (at % 64);
            info[at / 64 + 1] |= (bits >> 1) >> (63 - at % 64);
        }
    }
    const std::size_t k = plan.k();
    if (k % 64 != 0) info[k / 64] &= ~std::uint64_t{0} >> (64 - k % 64);  // of the last byte only k's bits
    kernels.reverse_bits(reinterpret_cast<const std::uint8_t*>(info.data()), (k + 7) / 8, bytes);
}

bool any_erased(const ErasurePlan& plan, const std::uint64_t* planes) {
    const PeelView& view = plan.view();
    std::uint64_t left = 0;
    for (unsigned col = 0; col < plan.info_columns(); ++col)
        for (unsigned w = 0; w < view.words; ++w) left |= planes[std::size_t{2} * col * view.stride + w] & view.mask[w];
    return left != 0;
}

// The block's sent bits lie in work.sent.
void decode_block(const ErasurePlan& plan, ErasureOptions options, Workspace& work, std::size_t block, Decoded out, std::span<std::uint8_t> undetermined) {
    const ErasureKernels& kernels = *options.kernels;
    bool consistent = true;
    const BitStrings& mother = plan.sent_whole() ? work.sent : work.mother;
    if (!plan.sent_whole()) consistent = place_mother(plan, work.sent, work.mother);
    kernels.spread(plan.view(), mother.erased.data(), mother.value.data(), work.planes.data());

    PeelState state{work.planes.data(), work.row_values.data(), work.todo.data()};
    const unsigned rounds = kernels.peel(plan.view(), state);
    consistent &= !state.contradiction;
    bool known = state.todo_count == 0;
    if (!known && options.eliminate) {
        consistent &= work.solver.solve(plan, kernels, state);
        work.solver.trim(kKeptBytes);
    }
    if (!known) known = !any_erased(plan, state.planes);

    const std::size_t info_bytes = (plan.k() + 7) / 8;
    collect(plan, kernels, state.planes + plan.view().stride, work.info, out.bits.data() + block * info_bytes);
    if (!undetermined.empty()) collect(plan, kernels, state.planes, work.info, undetermined.data() + block * info_bytes);
    out.ok[block] = known && consistent;
    out.iterations[block] = static_cast<std::uint16_t>(std::min(rounds, 0xffffu));
}

// The batch's blocks as the entries give them: fills work.sent with one block.
using Reader = void (*)(const ErasurePlan& plan, const ErasureKernels& kernels, const void* const* inputs, std::size_t block, BitStrings& sent);

void read_llr(const ErasurePlan& plan, const ErasureKernels& kernels, const void* const* inputs, std::size_t block, BitStrings& sent) {
    kernels.pack_llr(static_cast<const std::int8_t*>(inputs[0]) + block * plan.n(), plan.n(), sent.erased.data(), sent.value.data());
}

void read_packed(const ErasurePlan& plan, const ErasureKernels& kernels, const void* const* inputs, std::size_t block, BitStrings& sent) {
    const std::size_t bytes = (plan.n() + 7) / 8, words = words_for(plan.n());
    kernels.reverse_bits(static_cast<const std::uint8_t*>(inputs[0]) + block * bytes, bytes, reinterpret_cast<std::uint8_t*>(sent.value.data()));
    kernels.reverse_bits(static_cast<const std::uint8_t*>(inputs[1]) + block * bytes, bytes, reinterpret_cast<std::uint8_t*>(sent.erased.data()));
    for (std::size_t w = 0; w < words; ++w) sent.value[w] &= ~sent.erased[w];
}

struct Batch {
    const ErasurePlan& plan;
    ErasureOptions options;
    Reader read;
    const void* inputs[2];
    Decoded out;
    std::span<std::uint8_t> undetermined;
};

void decode_alone(const Batch& batch, Workspace& work, std::size_t block) {
    batch.read(batch.plan, *batch.options.kernels, batch.inputs, block, work.sent);
    decode_block(batch.plan, batch.options, work, block, batch.out, batch.undetermined);
}

// Up to 64 * lanes frames into the lanes of work.across. Bit i of `clash[lane]`: two sure copies of a bit of that frame differ.
void load_across(const Batch& batch, Workspace& work, std::size_t first, std::size_t count, std::uint64_t* clash) {
    const std::size_t lanes = batch.options.kernels->across_lanes, words = words_for(batch.plan.mother_bits()), staged = staging_step(lanes);
    const BitStrings& mother = batch.plan.sent_whole() ? work.sent : work.mother;
    for (std::size_t i = 0; i < 64; ++i) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {  // innermost: neighbours in memory
            const std::size_t frame = 64 * lane + i;
            std::uint64_t* to = work.staging() + i * 2 * lanes + lane;
            if (frame >= count) {  // the zero codeword, all known
                for (std::size_t w = 0; w < words; ++w, to += staged) to[0] = to[lanes] = 0;
                continue;
            }
            batch.read(batch.plan, *batch.options.kernels, batch.inputs, first + frame, work.sent);
            if (!batch.plan.sent_whole() && !place_mother(batch.plan, work.sent, work.mother)) clash[lane] |= std::uint64_t{1} << i;
            for (std::size_t w = 0; w < words; ++w, to += staged) {
                to[0] = mother.erased[w];
                to[lanes] = mother.value[w];
            }
        }
    }
    for (std::size_t w = 0; w < words; ++w) {
        const std::uint64_t* const from = work.staging() + w * staged;
        std::uint64_t* const to = work.across_bits() + w * 128 * lanes;
        batch.options.kernels->transpose_across(from, to, 2 * lanes);
        batch.options.kernels->transpose_across(from + lanes, to + lanes, 2 * lanes);
    }
}

void decode_across(const Batch& batch, Workspace& work, std::size_t first, std::size_t count) {
    const ErasurePlan& plan = batch.plan;
    const ErasureKernels& kernels = *batch.options.kernels;
    const std::size_t lanes = kernels.across_lanes, info_bytes = (plan.k() + 7) / 8, words = words_for(plan.k());
    std::uint64_t clash[kMaxLanes]{};
    std::uint16_t rounds[64 * kMaxLanes];
    load_across(batch, work, first, count, clash);
    AcrossState state{work.across_bits(), work.settled.data(), rounds};
    kernels.peel_across(plan.view(), state);
    const std::size_t staged = staging_step(lanes);
    for (std::size_t w = 0; w < words; ++w) kernels.transpose_across(work.across_bits() + w * 128 * lanes + lanes, work.staging() + w * staged, 2 * lanes);
    for (std::size_t i = 0; i < 64; ++i) {
        for (std::size_t lane = 0; lane < lanes && 64 * lane + i < count; ++lane) {
            const std::size_t block = first + 64 * lane + i;
            if ((state.stuck[lane] >> i & 1) != 0) {
                decode_alone(batch, work, block);
                continue;
            }
            for (std::size_t w = 0; w < words; ++w) work.info[w] = work.staging()[w * staged + i * 2 * lanes + lane];
            if (plan.k() % 64 != 0) work.info[words - 1] &= ~std::uint64_t{0} >> (64 - plan.k() % 64);
            kernels.reverse_bits(reinterpret_cast<const std::uint8_t*>(work.info.data()), info_bytes, batch.out.bits.data() + block * info_bytes);
            if (!batch.undetermined.empty()) std::memset(batch.undetermined.data() + block * info_bytes, 0, info_bytes);
            batch.out.ok[block] = ((state.bad[lane] | clash[lane]) >> i & 1) == 0;
            batch.out.iterations[block] = rounds[64 * lane + i];
        }
    }
}

thread_local Workspace workspace;

void decode_batch(const Batch& batch, std::size_t blocks) {
    Workspace& work = workspace;
    work.fit(batch.plan);
    const std::size_t together = std::size_t{64} * batch.options.kernels->across_lanes;
    std::size_t block = 0;
    if (together != 0 && blocks >= together * kFullFor / 8 && batch.plan.mother_bits() <= kMostAcross) {
        work.fit_across(batch.plan, together / 64);
        for (; blocks - block >= together * kFullFor / 8; block += std::min(together, blocks - block))
            decode_across(batch, work, block, std::min(together, blocks - block));
    }
    for (; block < blocks; ++block) decode_alone(batch, work, block);
}

}  // namespace

void decode_erasure(const ErasurePlan& plan, std::span<const std::int8_t> llr, std::size_t blocks, Decoded out,
                    std::span<std::uint8_t> undetermined, ErasureOptions options) {
    decode_batch({plan, options, read_llr, {llr.data(), nullptr}, out, undetermined}, blocks);
}

void decode_erasure_packed(const ErasurePlan& plan, std::span<const std::uint8_t> sent, std::span<const std::uint8_t> erased, std::size_t blocks,
                           Decoded out, std::span<std::uint8_t> undetermined, ErasureOptions options) {
    decode_batch({plan, options, read_packed, {sent.data(), erased.data()}, out, undetermined}, blocks);
}

bool complete_erasure(const ErasurePlan& plan, std::span<const std::int8_t> llr, unsigned most, std::span<std::uint8_t> info,
                      std::vector<std::uint8_t>& freedom, ErasureOptions options) {
    const ErasureKernels& kernels = *options.kernels;
    Workspace& work = workspace;
    work.fit(plan);
    freedom.clear();
    kernels.pack_llr(llr.data(), plan.n(), work.sent.erased.data(), work.sent.value.data());
    const BitStrings& mother = plan.sent_whole() ? work.sent : work.mother;
    if (!plan.sent_whole() && !place_mother(plan, work.sent, work.mother)) return false;
    kernels.spread(plan.view(), mother.erased.data(), mother.value.data(), work.planes.data());
    PeelState state{work.planes.data(), work.row_values.data(), work.todo.data()};
    kernels.peel(plan.view(), state);
    if (state.contradiction) return false;
    collect(plan, kernels, state.planes + plan.view().stride, work.info, info.data());
    if (state.todo_count == 0) return true;
    const bool found = work.solver.complete(plan, kernels, state, most, info, freedom);
    work.solver.trim(kKeptBytes);
    return found;
}

}  // namespace featcodec::ldpc
