// The encoder's plan, and the way from bytes to the kernel's words and back.
#include "encoder.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "packed_bits.hpp"

namespace featcodec::ldpc {
namespace {

constexpr unsigned kMaxCols = 68, kMaxZ = 384;
constexpr std::size_t kMaxWideWords = 1024;  // of a block's sent bits: long repetitions go one block at a time, to keep the workspace small

unsigned column_words(unsigned z) { return z <= 32 ? 0 : (z + 63) / 64; }

void check_size(std::size_t got, std::size_t wanted, const char* what) {
    if (got != wanted) throw std::invalid_argument(std::string(what) + " must hold " + std::to_string(wanted) + " bytes, got " + std::to_string(got));
}

// `words` 64-byte aligned words of this thread's workspace.
std::uint64_t* workspace(std::size_t words) {
    thread_local std::vector<std::uint64_t> held;
    if (held.size() < words + 8) held.resize(words + 8);
    const auto address = reinterpret_cast<std::uintptr_t>(held.data());
    return held.data() + (64 - address % 64) % 64 / 8;
}

}  // namespace

Encoder::Encoder(const Code& code, EncodeKernel kernel)
    : kernel_(kernel), k_(code.k), n_(code.n), z_(code.z), info_cols_(code.info_cols), rows_(code.matrix.rows), core_rows_(code.family == Family::nr ? 4 : rows_),
      mother_bits_(code.mother_bits()), words_(column_words(z_)), stride_(words_ == 0 ? 1 : 2 * words_ + 1) {
    const unsigned doubled = info_cols_ + (code.family == Family::nr ? core_rows_ : 1);
    if (z_ < 1 || z_ > kMaxZ || code.matrix.cols > kMaxCols || doubled > kMaxDoubledCols || rows_ < core_rows_ || core_rows_ < 2 || core_rows_ > kMaxCoreRows)
        throw std::invalid_argument("the encoder takes codes of 802.11n and 5G NR only");
    plan_core(code.matrix);
    for (unsigned row = 0; row < core_rows_; ++row) plan_row(code.matrix, row, info_cols_);
    for (unsigned row = core_rows_; row < rows_; ++row) plan_row(code.matrix, row, info_cols_ + core_rows_);
    row_begin_.push_back(static_cast<std::uint32_t>(rotations_.size()));
    if (code.segments.size() != 1 || code.segments[0].mother != 0)
        for (const Segment& segment : code.segments) runs_.push_back({segment.sent, segment.mother, segment.count});
    if (words_of(n_) > kMaxWideWords) kernel_ = kEncodeScalar;
}

Rotation Encoder::rotation(unsigned col, unsigned shift) const {
    return {static_cast<std::uint16_t>(col * stride_ + shift / 64), static_cast<std::uint8_t>(shift % 64)};
}

void Encoder::plan_row(const Matrix& matrix, unsigned row, unsigned cols) {
    row_begin_.push_back(static_cast<std::uint32_t>(rotations_.size()));
    for (unsigned col = 0; col < cols; ++col)
        if (const int shift = matrix.at(row, col); shift >= 0) rotations_.push_back(rotation(col, static_cast<unsigned>(shift)));
}

// In the sum of the core's rows every parity column cancels but the first, two of whose three blocks cancel: one rotation of it is left.
void Encoder::plan_core(const Matrix& matrix) {
    const unsigned first = info_cols_;
    bool encodable = true;
    std::vector<unsigned> left;
    for (unsigned row = 0; row < core_rows_; ++row) {
        const int shift = matrix.at(row, first);
        has_first_parity_.push_back(shift >= 0);
        first_parity_.push_back(rotation(first, static_cast<unsigned>(std::max(shift, 0))));
        if (shift >= 0) {
            const auto same = std::find(left.begin(), left.end(), static_cast<unsigned>(shift));
            if (same != left.end()) left.erase(same);
            else left.push_back(static_cast<unsigned>(shift));
        }
        for (unsigned col = 1; col < core_rows_; ++col) encodable &= matrix.at(row, first + col) == (col == row || col == row + 1 ? 0 : -1);
    }
    for (unsigned row = core_rows_; row < rows_; ++row)
        for (unsigned col = core_rows_; col < rows_; ++col) encodable &= matrix.at(row, first + col) == (col == row ? 0 : -1);
    if (!encodable || left.size() != 1) throw std::invalid_argument("the parity part is not a weight-3 column and a double diagonal");
    solve_ = rotation(first, (z_ - left[0]) % z_);
}

EncodePlan Encoder::plan(bool with_runs) const {
    return {z_, words_, info_cols_, rows_, core_rows_, rotations_.data(), row_begin_.data(), solve_, first_parity_.data(), has_first_parity_.data(),
            with_runs ? runs_.data() : nullptr, with_runs ? runs_.size() : 0};
}

// Batches of `lanes` blocks through the kernel; the last few one by one where that costs less than empty lanes.
void Encoder::run(const std::uint8_t* info, std::uint8_t* out, unsigned out_bits, bool with_runs, std::size_t blocks) const {
    const EncodePlan encode_plan = plan(with_runs);
    const std::size_t mother_words = words_of(mother_bits_) + kEncodeSlackWords, sent_words = encode_plan.run_count ? words_of(n_) + 1 : 0;
    std::uint64_t* const mother = workspace((mother_words + sent_words) * kernel_.lanes);
    for (std::size_t done = 0; done < blocks;) {
        const std::size_t left = blocks - done;
        const EncodeKernel kernel = left * 4 > kernel_.lanes ? kernel_ : kEncodeScalar;
        const std::size_t lanes = kernel.lanes, count = std::min(left, lanes);
        std::uint64_t* const sent = mother + mother_words * lanes;
        std::fill(mother + k_ / 64 * lanes, sent + sent_words * lanes, 0);
        for (std::size_t lane = 0; lane < count; ++lane) load_words(mother + lane, lanes, info + (done + lane) * bytes_of(k_), k_);
        kernel.run(encode_plan, mother, sent);
        const std::uint64_t* const result = sent_words ? sent : mother;
        for (std::size_t lane = 0; lane < count; ++lane) store_words(out + (done + lane) * bytes_of(out_bits), result + lane, lanes, out_bits);
        done += count;
    }
}

void Encoder::encode(std::span<const std::uint8_t> info, std::span<std::uint8_t> sent, std::size_t blocks) const {
    check_size(info.size(), blocks * bytes_of(k_), "info");
    check_size(sent.size(), blocks * bytes_of(n_), "sent");
    run(info.data(), sent.data(), n_, true, blocks);
}

void Encoder::encode_mother(std::span<const std::uint8_t> info, std::span<std::uint8_t> mother, std::size_t blocks) const {
    check_size(info.size(), blocks * bytes_of(k_), "info");
    check_size(mother.size(), blocks * bytes_of(mother_bits_), "mother");
    run(info.data(), mother.data(), mother_bits_, false, blocks);
}

}  // namespace featcodec::ldpc
