// Erasures in plain C++ over 64-bit words: the oracle of the vector levels, and the decoder where there are none.
#include <cstring>
#include <initializer_list>

#include "erasure_kernels.hpp"

namespace featcodec::ldpc {
namespace {

#include "erasure_narrow.inc"

inline std::uint64_t shift_right(std::uint64_t x, std::uint64_t by) { return by > 63 ? 0 : x >> by; }
inline std::uint64_t shift_left(std::uint64_t x, std::uint64_t by) { return by > 63 ? 0 : x << by; }
// 64 bits from `bit` (0..63) on.
inline std::uint64_t word_at(const std::uint64_t* words, std::uint64_t bit) { return (words[0] >> bit) | ((words[1] << 1) << (63 - bit)); }

void pack_llr(const std::int8_t* llr, std::size_t n, std::uint64_t* erased, std::uint64_t* value) {
    constexpr std::uint64_t kLow = 0x0101010101010101u, kGather = 0x0102040810204080u;
    for (std::size_t start = 0; start < n; start += 64) {
        std::uint64_t known_bits = 0, value_bits = 0;
        for (std::size_t i = start; i < n && i < start + 64; i += 8) {
            std::uint64_t eight = 0;
            std::memcpy(&eight, llr + i, n - i < 8 ? n - i : 8);
            const std::uint64_t nonzero = (((eight & ~(kLow << 7)) + ~(kLow << 7)) | eight) >> 7 & kLow;  // no carry leaves a byte
            known_bits |= ((nonzero * kGather) >> 56) << (i - start);
            value_bits |= (((eight >> 7 & kLow) * kGather) >> 56) << (i - start);
        }
        erased[start / 64] = ~known_bits;
        value[start / 64] = value_bits;
    }
    if (n % 64 != 0) erased[n / 64] &= ~std::uint64_t{0} >> (64 - n % 64);
}

std::uint64_t reverse_in_bytes(std::uint64_t x) {
    x = (x >> 1 & 0x5555555555555555u) | (x & 0x5555555555555555u) << 1;
    x = (x >> 2 & 0x3333333333333333u) | (x & 0x3333333333333333u) << 2;
    return (x >> 4 & 0x0f0f0f0f0f0f0f0fu) | (x & 0x0f0f0f0f0f0f0f0fu) << 4;
}

void reverse_bits(const std::uint8_t* from, std::size_t bytes, std::uint8_t* to) {
    for (std::size_t i = 0; i < bytes; i += 8) {
        const std::size_t count = bytes - i < 8 ? bytes - i : 8;
        std::uint64_t eight = 0;
        std::memcpy(&eight, from + i, count);
        eight = reverse_in_bytes(eight);
        std::memcpy(to + i, &eight, count);
    }
}

void extend(const Extension& ext, const std::uint64_t* words, unsigned count, std::uint64_t* to) {
    for (unsigned i = 0; i < count; ++i)
        to[i] = shift_right(words[ext.low[i]], ext.low_right[i]) | shift_left(words[ext.high[i]], ext.high_left[i]) | shift_left(words[0], ext.wrap_left[i]);
}

void spread(const PeelView& view, const std::uint64_t* erased, const std::uint64_t* value, std::uint64_t* planes) {
    if (view.words == 1) return spread_narrow(view, erased, value, planes);
    std::uint64_t words[kMaxLanes]{};
    for (unsigned col = 0; col < view.columns; ++col) {
        const std::size_t at = std::size_t{col} * view.z;
        for (const std::uint64_t* from : {erased, value}) {
            for (unsigned w = 0; w < view.words; ++w) words[w] = word_at(from + at / 64 + w, at % 64) & view.mask[w];
            extend(*view.extension, words, view.stride, planes + std::size_t{2} * col * view.stride + (from == erased ? 0 : view.stride));
        }
    }
}

template <unsigned kWords>
struct RowSum {
    std::uint64_t ones[kWords], twos[kWords], sum[kWords];  // at least one, at least two erased neighbours; XOR of the known ones
};

template <unsigned kWords>
RowSum<kWords> look_at_row(const PeelView& view, const std::uint64_t* planes, unsigned row) {
    RowSum<kWords> found{};
    for (unsigned i = view.row_begin[row]; i < view.row_begin[row + 1]; ++i) {
        const PeelEdge& edge = view.edges[i];
        const std::uint64_t* const at = planes + edge.column + edge.word;
        for (unsigned w = 0; w < kWords; ++w) {
            const std::uint64_t erased = word_at(at + w, edge.bit);
            found.twos[w] |= found.ones[w] & erased;
            found.ones[w] |= erased;
            found.sum[w] ^= word_at(at + view.stride + w, edge.bit);
        }
    }
    for (unsigned w = 0; w < kWords; ++w) {
        found.ones[w] &= view.mask[w];
        found.twos[w] &= view.mask[w];
        found.sum[w] &= view.mask[w];
    }
    return found;
}

template <unsigned kWords>
void solve_row(const PeelView& view, std::uint64_t* planes, unsigned row, const RowSum<kWords>& found) {
    std::uint64_t single[kMaxLanes]{}, solved[kMaxLanes]{}, single_ext[kExtensionWords], solved_ext[kExtensionWords];
    for (unsigned w = 0; w < kWords; ++w) {
        single[w] = found.ones[w] & ~found.twos[w];
        solved[w] = single[w] & found.sum[w];
    }
    extend(*view.extension, single, 3 * view.lanes, single_ext);
    extend(*view.extension, solved, 3 * view.lanes, solved_ext);
    for (unsigned i = view.row_begin[row]; i < view.row_begin[row + 1]; ++i) {
        const PeelEdge& edge = view.edges[i];
        std::uint64_t* const at = planes + edge.column;
        for (unsigned w = 0; w < 2 * kWords; ++w) {
            const std::uint64_t met = at[w] & word_at(single_ext + edge.back_word + w, edge.back_bit);
            at[w] ^= met;
            at[view.stride + w] |= met & word_at(solved_ext + edge.back_word + w, edge.back_bit);
        }
    }
}

template <unsigned kWords>
unsigned peel_words(const PeelView& view, PeelState& state) {
    std::uint64_t bad = 0;
    unsigned rounds = 0, count = view.rows;
    for (unsigned row = 0; row < count; ++row) state.todo[row] = static_cast<std::uint16_t>(row);
    bool moved = true;
    while (moved && count != 0) {
        ++rounds;
        moved = false;
        unsigned kept = 0;
        for (unsigned i = 0; i < count; ++i) {
            const unsigned row = state.todo[i];
            const RowSum<kWords> found = look_at_row<kWords>(view, state.planes, row);
            std::uint64_t single = 0, many = 0;
            for (unsigned w = 0; w < kWords; ++w) {
                bad |= found.sum[w] & ~found.ones[w];
                single |= found.ones[w] & ~found.twos[w];
                many |= found.twos[w];
                state.row_values[std::size_t{row} * view.lanes + w] = found.sum[w];
            }
            if (single != 0) {
                moved = true;
                solve_row<kWords>(view, state.planes, row, found);
            }
            if (many != 0) state.todo[kept++] = static_cast<std::uint16_t>(row);
        }
        count = kept;
    }
    state.todo_count = count;
    state.contradiction = bad != 0;
    return rounds;
}

unsigned peel(const PeelView& view, PeelState& state) {
    switch (view.words) {
        case 1: return peel_narrow(view, state);
        case 2: return peel_words<2>(view, state);
        case 3: return peel_words<3>(view, state);
        case 4: return peel_words<4>(view, state);
        case 5: return peel_words<5>(view, state);
        default: return peel_words<6>(view, state);
    }
}

void add_row(std::uint64_t* to, const std::uint64_t* from, std::size_t words) {
    for (std::size_t i = 0; i < words; ++i) to[i] ^= from[i];
}

}  // namespace

const ErasureKernels kErasureScalar = {pack_llr, reverse_bits, spread, peel, add_row, 0, nullptr, nullptr};

}  // namespace featcodec::ldpc
