// Erasures with AVX2: a column in one xmm, one ymm or two.
#if defined(FEATCODEC_X86)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "erasure_kernels.hpp"

namespace featcodec::ldpc {
namespace {

#include "erasure_bits256.inc"
#include "erasure_narrow.inc"

struct Pair {
    __m256i low, high;
};

template <class V> V load(const std::uint64_t* from);
template <> inline __m128i load(const std::uint64_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
template <> inline __m256i load(const std::uint64_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
template <> inline Pair load(const std::uint64_t* from) { return {load<__m256i>(from), load<__m256i>(from + 4)}; }
inline void store(std::uint64_t* to, __m128i x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), x); }
inline void store(std::uint64_t* to, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
inline void store(std::uint64_t* to, Pair x) { store(to, x.low), store(to + 4, x.high); }
template <class V> V zero();
template <> inline __m128i zero() { return _mm_setzero_si128(); }
template <> inline __m256i zero() { return _mm256_setzero_si256(); }
template <> inline Pair zero() { return {zero<__m256i>(), zero<__m256i>()}; }

inline __m128i bit_and(__m128i a, __m128i b) { return _mm_and_si128(a, b); }
inline __m256i bit_and(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
inline Pair bit_and(Pair a, Pair b) { return {bit_and(a.low, b.low), bit_and(a.high, b.high)}; }
inline __m128i bit_or(__m128i a, __m128i b) { return _mm_or_si128(a, b); }
inline __m256i bit_or(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
inline Pair bit_or(Pair a, Pair b) { return {bit_or(a.low, b.low), bit_or(a.high, b.high)}; }
inline __m128i bit_xor(__m128i a, __m128i b) { return _mm_xor_si128(a, b); }
inline __m256i bit_xor(__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }
inline Pair bit_xor(Pair a, Pair b) { return {bit_xor(a.low, b.low), bit_xor(a.high, b.high)}; }
inline __m128i and_not(__m128i a, __m128i b) { return _mm_andnot_si128(a, b); }
inline __m256i and_not(__m256i a, __m256i b) { return _mm256_andnot_si256(a, b); }
inline Pair and_not(Pair a, Pair b) { return {and_not(a.low, b.low), and_not(a.high, b.high)}; }
inline bool any(__m128i x) { return _mm_testz_si128(x, x) == 0; }
inline bool any(__m256i x) { return _mm256_testz_si256(x, x) == 0; }
inline bool any(Pair x) { return any(bit_or(x.low, x.high)); }

// 64-bit words of `below` shifted right by `bit`, filled from `above`; rest = 64 - bit.
inline __m128i funnel(__m128i below, __m128i above, std::uint64_t bit, std::uint64_t rest) {
    const __m128i right = _mm_set1_epi64x(static_cast<long long>(bit)), left = _mm_set1_epi64x(static_cast<long long>(rest));
    return _mm_or_si128(_mm_srlv_epi64(below, right), _mm_sllv_epi64(above, left));
}
inline __m256i funnel(__m256i below, __m256i above, std::uint64_t bit, std::uint64_t rest) {
    const __m256i right = _mm256_set1_epi64x(static_cast<long long>(bit)), left = _mm256_set1_epi64x(static_cast<long long>(rest));
    return _mm256_or_si256(_mm256_srlv_epi64(below, right), _mm256_sllv_epi64(above, left));
}
inline Pair funnel(Pair below, Pair above, std::uint64_t bit, std::uint64_t rest) {
    return {funnel(below.low, above.low, bit, rest), funnel(below.high, above.high, bit, rest)};
}

inline __m256i load_at(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

template <unsigned kWords>
inline void extend_words(const Extension& ext, __m256i x, std::uint64_t* to) {
    const __m256i first = _mm256_permute4x64_epi64(x, 0);
    for (unsigned i = 0; i < kWords; i += 4) {
        const __m256i low = _mm256_srlv_epi64(_mm256_permutevar8x32_epi32(x, load_at(ext.low_halves + 2 * i)), load_at(ext.low_right + i));
        const __m256i high = _mm256_sllv_epi64(_mm256_permutevar8x32_epi32(x, load_at(ext.high_halves + 2 * i)), load_at(ext.high_left + i));
        store(to + i, bit_or(bit_or(low, high), _mm256_sllv_epi64(first, load_at(ext.wrap_left + i))));
    }
}

// At least kPeriods * lanes words of the periodic sequence.
template <unsigned kPeriods>
inline void extend(const Extension& ext, __m128i x, std::uint64_t* to) {
    extend_words<2 * kPeriods>(ext, _mm256_castsi128_si256(x), to);
}
template <unsigned kPeriods>
inline void extend(const Extension& ext, __m256i x, std::uint64_t* to) {
    extend_words<4 * kPeriods>(ext, x, to);
}
template <unsigned kPeriods>
inline void extend(const Extension& ext, Pair x, std::uint64_t* to) {
    alignas(32) std::uint64_t words[kMaxLanes];
    store(words, x);
    const __m256i first = _mm256_set1_epi64x(static_cast<long long>(words[0]));
    for (unsigned i = 0; i < 8 * kPeriods; i += 4) {
        const auto gather = [&](const std::uint64_t* at) {
            return _mm256_setr_epi64x(static_cast<long long>(words[at[0]]), static_cast<long long>(words[at[1]]), static_cast<long long>(words[at[2]]),
                                      static_cast<long long>(words[at[3]]));
        };
        const __m256i low = _mm256_srlv_epi64(gather(ext.low + i), load_at(ext.low_right + i));
        const __m256i high = _mm256_sllv_epi64(gather(ext.high + i), load_at(ext.high_left + i));
        store(to + i, bit_or(bit_or(low, high), _mm256_sllv_epi64(first, load_at(ext.wrap_left + i))));
    }
}

template <class V> V broadcast(std::uint64_t x);
template <> inline __m256i broadcast(std::uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
template <int kBy> inline __m256i shift_left(__m256i x) { return _mm256_slli_epi64(x, kBy); }
template <int kBy> inline __m256i shift_right(__m256i x) { return _mm256_srli_epi64(x, kBy); }

#include "erasure_across.inc"
#include "erasure_wide.inc"

void pack_llr(const std::int8_t* llr, std::size_t n, std::uint64_t* erased, std::uint64_t* value) {
    const auto pack = [](const std::int8_t* from, std::uint64_t& zeros, std::uint64_t& signs) {
        const __m256i a = load_at(from), b = load_at(from + 32), none = _mm256_setzero_si256();
        const auto bits = [](__m256i x) { return static_cast<std::uint32_t>(_mm256_movemask_epi8(x)); };
        zeros = bits(_mm256_cmpeq_epi8(a, none)) | std::uint64_t{bits(_mm256_cmpeq_epi8(b, none))} << 32;
        signs = bits(a) | std::uint64_t{bits(b)} << 32;
    };
    std::size_t i = 0;
    for (; i + 64 <= n; i += 64) pack(llr + i, erased[i / 64], value[i / 64]);
    if (i == n) return;
    std::int8_t rest[64];
    std::memset(rest, 1, sizeof rest);
    std::memcpy(rest, llr + i, n - i);
    pack(rest, erased[i / 64], value[i / 64]);
}

void spread(const PeelView& view, const std::uint64_t* erased, const std::uint64_t* value, std::uint64_t* planes) {
    switch (view.lanes) {
        case 1: return spread_narrow(view, erased, value, planes);
        case 2: return spread_wide<__m128i>(view, erased, value, planes);
        case 4: return spread_wide<__m256i>(view, erased, value, planes);
        default: return spread_wide<Pair>(view, erased, value, planes);
    }
}

unsigned peel(const PeelView& view, PeelState& state) {
    switch (view.lanes) {
        case 1: return peel_narrow(view, state);
        case 2: return peel_wide<__m128i, __m256i>(view, state);
        case 4: return peel_wide<__m256i, __m256i>(view, state);
        default: return peel_wide<Pair, __m256i>(view, state);
    }
}

}  // namespace

extern const ErasureKernels kErasureAvx2 = {pack_llr, reverse_bits, spread, peel, add_row, 4, transpose_across<__m256i>, peel_across<__m256i>};

}  // namespace featcodec::ldpc

#endif
