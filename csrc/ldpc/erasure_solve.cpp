// Inactivation decoding of the unknowns that peeling leaves.
#include "erasure_solve.hpp"

#include <algorithm>
#include <bit>

namespace featcodec::ldpc {
namespace {

constexpr std::uint8_t kNoUnknowns = 0, kSpare = 1, kUsed = 2;
constexpr std::uint32_t kNone = 0xffffffffu;
// A check down to two open unknowns falls as soon as one of them is set aside: worth more than any number of larger checks.
constexpr std::uint32_t kPairScore = 256;

}  // namespace

template <class Visit>
void ErasureSolver::each_unknown(const ErasurePlan& plan, std::uint32_t check, Visit visit) const {
    const std::uint32_t z = plan.z(), row = check / z, r = check % z;
    for (const Meeting& meeting : plan.of_row(row)) {
        const std::uint32_t shifted = r + meeting.shift, place = shifted < z ? shifted : shifted - z;
        const std::int32_t unknown = unknown_at_[meeting.other * z + place];
        if (unknown >= 0) visit(static_cast<std::uint32_t>(unknown));
    }
}

void ErasureSolver::list_unknowns(const ErasurePlan& plan, const PeelState& state) {
    const PeelView& view = plan.view();
    unknown_at_.assign(plan.mother_bits(), -1);
    position_.clear();
    for (unsigned col = 0; col < view.columns; ++col) {
        for (unsigned w = 0; w < view.words; ++w) {
            std::uint64_t erased = state.planes[std::size_t{2} * col * view.stride + w] & view.mask[w];
            for (; erased != 0; erased &= erased - 1) {
                const std::uint32_t bit = col * view.z + 64 * w + static_cast<unsigned>(std::countr_zero(erased));
                unknown_at_[bit] = static_cast<std::int32_t>(position_.size());
                position_.push_back(bit);
            }
        }
    }
    open_count_.assign(plan.checks(), 0);
    open_xor_.assign(plan.checks(), 0);
    score_.assign(position_.size(), 0);
    for (std::uint32_t unknown = 0; unknown < position_.size(); ++unknown) {
        const std::uint32_t col = position_[unknown] / view.z, place = position_[unknown] % view.z;
        const auto meetings = plan.of_column(col);
        score_[unknown] = static_cast<std::uint32_t>(meetings.size());
        for (const Meeting& meeting : meetings) {
            const std::uint32_t r = place >= meeting.shift ? place - meeting.shift : place + view.z - meeting.shift, check = meeting.other * view.z + r;
            ++open_count_[check];
            open_xor_[check] ^= unknown;
        }
    }
    kind_.assign(plan.checks(), kNoUnknowns);
    check_value_.assign(plan.checks(), 0);
    for (unsigned i = 0; i < state.todo_count; ++i) {
        const unsigned row = state.todo[i];
        for (unsigned r = 0; r < view.z; ++r) {
            const std::uint32_t check = row * view.z + r;
            if (open_count_[check] != 0) kind_[check] = kSpare;
            check_value_[check] = state.row_values[std::size_t{row} * view.lanes + r / 64] >> (r % 64) & 1;
        }
    }
}

std::size_t ErasureSolver::open_checks() const { return static_cast<std::size_t>(std::count(kind_.begin(), kind_.end(), kSpare)); }

// A check lost an open unknown.
void ErasureSolver::check_shrank(const ErasurePlan& plan, std::uint32_t check) {
    if (open_count_[check] == 1) {
        ready_.push_back(check);
    } else if (open_count_[check] == 2) {
        each_unknown(plan, check, [&](std::uint32_t unknown) {
            if (status_[unknown] == Status::open) score_[unknown] += kPairScore;
        });
    }
}

void ErasureSolver::remove(const ErasurePlan& plan, std::uint32_t unknown) {
    const std::uint32_t z = plan.z(), col = position_[unknown] / z, place = position_[unknown] % z;
    for (const Meeting& meeting : plan.of_column(col)) {
        const std::uint32_t r = place >= meeting.shift ? place - meeting.shift : place + z - meeting.shift, check = meeting.other * z + r;
        --open_count_[check];
        open_xor_[check] ^= unknown;
        check_shrank(plan, check);
    }
}

// The open unknown of the highest score; kNone where none is open. Closed ones leave the list on the way.
std::uint32_t ErasureSolver::choose() {
    std::uint32_t best = kNone, best_score = 0;
    std::size_t kept = 0;
    for (const std::uint32_t unknown : open_list_) {
        if (status_[unknown] != Status::open) continue;
        open_list_[kept++] = unknown;
        if (best == kNone || score_[unknown] > best_score) {
            best = unknown;
            best_score = score_[unknown];
        }
    }
    open_list_.resize(kept);
    return best;
}

void ErasureSolver::order(const ErasurePlan& plan) {
    status_.assign(position_.size(), Status::open);
    ready_.clear();
    aside_.clear();
    steps_.clear();
    open_list_.resize(position_.size());
    for (std::uint32_t unknown = 0; unknown < position_.size(); ++unknown) open_list_[unknown] = unknown;
    for (std::uint32_t check = 0; check < kind_.size(); ++check)
        if (open_count_[check] == 1 || open_count_[check] == 2) check_shrank(plan, check);
    for (;;) {
        while (!ready_.empty()) {
            const std::uint32_t check = ready_.back();
            ready_.pop_back();
            if (open_count_[check] != 1) continue;  // another check took the unknown: this one is spare
            const std::uint32_t unknown = open_xor_[check];
            status_[unknown] = Status::summed;
            kind_[check] = kUsed;
            steps_.push_back({unknown, check});
            remove(plan, unknown);
        }
        const std::uint32_t unknown = choose();
        if (unknown == kNone) return;
        status_[unknown] = Status::aside;
        aside_.push_back(unknown);
        remove(plan, unknown);
    }
}

void ErasureSolver::add(const ErasureKernels& kernels, std::uint64_t* to, const std::uint64_t* from, std::size_t words) const {
    if (words > 4) return kernels.add_row(to, from, words);
    for (std::size_t i = 0; i < words; ++i) to[i] ^= from[i];
}

// sum ^= the check's constant and the sums of its unknowns except `but`.
void ErasureSolver::sum_check(const ErasurePlan& plan, const ErasureKernels& kernels, std::uint32_t check, std::uint32_t but, std::uint64_t* sum) const {
    sum[aside_.size() / 64] ^= std::uint64_t{check_value_[check]} << (aside_.size() % 64);
    each_unknown(plan, check, [&](std::uint32_t unknown) {
        if (unknown != but) add(kernels, sum, sum_of(unknown), words_);
    });
}

void ErasureSolver::express(const ErasurePlan& plan, const ErasureKernels& kernels) {
    words_ = aside_.size() / 64 + 1;
    sums_.assign(position_.size() * words_, 0);
    for (std::size_t i = 0; i < aside_.size(); ++i) sum_of(aside_[i])[i / 64] |= std::uint64_t{1} << (i % 64);
    for (const Step& step : steps_) sum_check(plan, kernels, step.check, step.unknown, sum_of(step.unknown));
}

// Reduces the row by the pivots so far and makes it one where something is left. False where only the constant is left: a contradiction.
bool ErasureSolver::insert(const ErasureKernels& kernels, std::uint64_t* row) {
    for (std::size_t w = 0; w < words_; ++w) {
        for (std::uint64_t hit = row[w] & pivots_[w]; hit != 0; hit = row[w] & pivots_[w]) {
            const std::size_t column = 64 * w + static_cast<std::size_t>(std::countr_zero(hit));
            add(kernels, row + w, rows_.data() + static_cast<std::size_t>(pivot_row_[column]) * words_ + w, words_ - w);
        }
    }
    for (std::size_t w = 0; w < words_; ++w) {
        if (row[w] == 0) continue;
        const std::size_t column = 64 * w + static_cast<std::size_t>(std::countr_zero(row[w]));
        if (column == aside_.size()) return false;
        pivots_[w] |= std::uint64_t{1} << (column % 64);
        pivot_row_[column] = static_cast<std::int32_t>(rank_);
        std::copy_n(row, words_, rows_.data() + rank_ * words_);
        ++rank_;
        return true;
    }
    return true;
}

// Rows in echelon form from the spare checks, until they determine everything.
bool ErasureSolver::make_pivots(const ErasurePlan& plan, const ErasureKernels& kernels) {
    rank_ = 0;
    pivots_.assign(words_, 0);
    pivot_row_.assign(aside_.size(), -1);
    rows_.resize(aside_.size() * words_);
    scratch_.resize(words_);
    for (std::uint32_t check = 0; check < kind_.size() && rank_ < aside_.size(); ++check) {
        if (kind_[check] != kSpare) continue;
        std::fill(scratch_.begin(), scratch_.end(), 0);
        sum_check(plan, kernels, check, kNone, scratch_.data());
        if (!insert(kernels, scratch_.data())) return false;
    }
    return true;
}

void ErasureSolver::write(const ErasurePlan& plan, PeelState& state, std::uint32_t unknown, bool value) const {
    const PeelView& view = plan.view();
    const std::uint32_t col = position_[unknown] / view.z, place = position_[unknown] % view.z;
    const std::uint64_t bit = std::uint64_t{1} << (place % 64);
    std::uint64_t* const at = state.planes + std::size_t{2} * col * view.stride + place / 64;
    at[0] &= ~bit;
    if (value) at[view.stride] |= bit;
}

// Full rank: the set-aside unknowns from the last to the first, then each sum is a parity.
void ErasureSolver::settle_all(const ErasurePlan& plan, PeelState& state) {
    const std::size_t count = aside_.size();
    std::fill(scratch_.begin(), scratch_.end(), 0);
    scratch_[count / 64] |= std::uint64_t{1} << (count % 64);
    const auto parity = [&](const std::uint64_t* row) {
        std::uint64_t sum = 0;
        for (std::size_t w = 0; w < words_; ++w) sum ^= row[w] & scratch_[w];
        return (std::popcount(sum) & 1) != 0;
    };
    for (std::size_t i = count; i-- > 0;)
        if (parity(rows_.data() + static_cast<std::size_t>(pivot_row_[i]) * words_)) scratch_[i / 64] |= std::uint64_t{1} << (i % 64);
    for (std::uint32_t unknown = 0; unknown < position_.size(); ++unknown) write(plan, state, unknown, parity(sum_of(unknown)));
}

// Rids every row of the other rows' pivots.
void ErasureSolver::reduce_rows(const ErasureKernels& kernels) {
    const auto reduce = [&](std::uint64_t* row, std::size_t above) {
        for (std::size_t w = 0; w < words_; ++w) {
            std::uint64_t hit = row[w] & pivots_[w];
            if (64 * w <= above) hit = 64 * w + 63 <= above ? 0 : hit & (~std::uint64_t{1} << (above % 64));
            for (; hit != 0; hit &= hit - 1) {
                const std::size_t column = 64 * w + static_cast<std::size_t>(std::countr_zero(hit));
                add(kernels, row + w, rows_.data() + static_cast<std::size_t>(pivot_row_[column]) * words_ + w, words_ - w);
            }
        }
    };
    // Downwards, so that every row used is already free of the other pivots.
    for (std::size_t i = aside_.size(); i-- > 0;)
        if (pivot_row_[i] >= 0) reduce(rows_.data() + static_cast<std::size_t>(pivot_row_[i]) * words_, i);
}

// Leaves of a sum its free columns and its constant; after reduce_rows.
void ErasureSolver::reduce_sum(const ErasureKernels& kernels, std::uint64_t* sum) const {
    for (std::size_t w = 0; w < words_; ++w) {
        for (std::uint64_t hit = sum[w] & pivots_[w]; hit != 0; hit &= hit - 1) {
            const std::size_t column = 64 * w + static_cast<std::size_t>(std::countr_zero(hit));
            add(kernels, sum + w, rows_.data() + static_cast<std::size_t>(pivot_row_[column]) * words_ + w, words_ - w);
        }
    }
}

// Less than full rank: what depends on no free column is still determined.
void ErasureSolver::settle_some(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state) {
    const std::size_t count = aside_.size();
    reduce_rows(kernels);
    for (std::uint32_t unknown = 0; unknown < position_.size(); ++unknown) {
        if (position_[unknown] >= plan.info_columns() * plan.z()) break;  // nobody asks for parity
        std::uint64_t* const sum = sum_of(unknown);
        reduce_sum(kernels, sum);
        const bool value = (sum[count / 64] >> (count % 64) & 1) != 0;
        sum[count / 64] &= ~(std::uint64_t{1} << (count % 64));
        if (std::all_of(sum, sum + words_, [](std::uint64_t word) { return word == 0; })) write(plan, state, unknown, value);
    }
}

bool ErasureSolver::spare_checks_hold(const ErasurePlan& plan, const PeelState& state) const {
    const PeelView& view = plan.view();
    for (std::uint32_t check = 0; check < kind_.size(); ++check) {
        if (kind_[check] != kSpare) continue;
        std::uint64_t sum = check_value_[check];
        each_unknown(plan, check, [&](std::uint32_t unknown) {
            const std::uint32_t col = position_[unknown] / view.z, place = position_[unknown] % view.z;
            sum ^= state.planes[std::size_t{2} * col * view.stride + view.stride + place / 64] >> (place % 64);
        });
        if ((sum & 1) != 0) return false;
    }
    return true;
}

bool ErasureSolver::solve(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state) {
    list_unknowns(plan, state);
    if (position_.size() > open_checks()) return true;  // never enough checks for all of them
    order(plan);
    express(plan, kernels);
    if (!make_pivots(plan, kernels)) return false;
    if (rank_ == aside_.size()) {
        settle_all(plan, state);
        return spare_checks_hold(plan, state);
    }
    settle_some(plan, kernels, state);
    return true;
}

bool ErasureSolver::complete(const ErasurePlan& plan, const ErasureKernels& kernels, PeelState& state, unsigned most, std::span<std::uint8_t> info,
                             std::vector<std::uint8_t>& freedom) {
    freedom.clear();
    list_unknowns(plan, state);
    if (position_.size() > open_checks() + most) return false;
    order(plan);
    express(plan, kernels);
    if (!make_pivots(plan, kernels) || aside_.size() - rank_ > most) return false;
    if (rank_ == aside_.size()) {
        settle_all(plan, state);
        if (!spare_checks_hold(plan, state)) return false;
    }
    reduce_rows(kernels);
    std::vector<std::size_t> free_columns;
    for (std::size_t column = 0; column < aside_.size(); ++column)
        if (pivot_row_[column] < 0) free_columns.push_back(column);
    freedom.assign(free_columns.size() * info.size(), 0);
    for (std::uint32_t unknown = 0; unknown < position_.size() && position_[unknown] < plan.k(); ++unknown) {
        std::uint64_t* const sum = sum_of(unknown);
        reduce_sum(kernels, sum);
        const std::size_t byte = position_[unknown] / 8, constant = aside_.size();
        const auto bit = static_cast<std::uint8_t>(0x80 >> position_[unknown] % 8);
        if ((sum[constant / 64] >> (constant % 64) & 1) != 0) info[byte] |= bit;
        for (std::size_t i = 0; i < free_columns.size(); ++i)
            if ((sum[free_columns[i] / 64] >> (free_columns[i] % 64) & 1) != 0) freedom[i * info.size() + byte] |= bit;
    }
    return true;
}

void ErasureSolver::trim(std::size_t most_bytes) {
    if ((sums_.capacity() + rows_.capacity()) * sizeof(std::uint64_t) <= most_bytes) return;
    sums_ = {};
    rows_ = {};
}

}  // namespace featcodec::ldpc
