// The decoder across 32 frames: AVX2.
#include "frames_kernel.hpp"

#include <cstring>
#include <immintrin.h>

namespace featcodec::ldpc {
namespace {

using Vec = __m256i;
using Word = std::uint32_t;  // one bit a lane
using LaneMask = __m256i;    // all ones in the lanes to write or to keep
constexpr unsigned kLanes = 32;

inline Vec load(const void* at) { return _mm256_load_si256(static_cast<const __m256i*>(at)); }
inline void store(void* at, Vec v) { _mm256_store_si256(static_cast<__m256i*>(at), v); }
inline Vec splat(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
inline Vec add_saturated(Vec a, Vec b) { return _mm256_adds_epi8(a, b); }
inline Vec clamp(Vec v, Vec low, Vec high) { return _mm256_min_epi8(_mm256_max_epi8(v, low), high); }
inline LaneMask lane_mask(Word lanes) {
    // Byte l takes the byte of `lanes` that holds bit l, then looks at that bit.
    const Vec spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const Vec bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    const Vec byte = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(lanes)), spread);
    return _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
}
inline void store_lanes(void* at, LaneMask lanes, Vec v) { store(at, _mm256_blendv_epi8(load(at), v, lanes)); }
inline Word signs(Vec v) { return static_cast<Word>(_mm256_movemask_epi8(v)); }
inline Word zeros(Vec v) { return signs(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())); }
inline unsigned count_lanes(Word lanes) { return static_cast<unsigned>(__builtin_popcount(lanes)); }
inline unsigned first_lane(Word lanes) { return static_cast<unsigned>(__builtin_ctz(lanes)); }
inline Vec unpack_low8(Vec a, Vec b) { return _mm256_unpacklo_epi8(a, b); }
inline Vec unpack_high8(Vec a, Vec b) { return _mm256_unpackhi_epi8(a, b); }
inline Vec both(Vec a, Vec b) { return _mm256_and_si256(a, b); }
inline Vec min_unsigned(Vec a, Vec b) { return _mm256_min_epu8(a, b); }

// The sign bits of eight vectors as one byte a lane, the first the most significant.
inline Vec gather_signs(const std::int8_t* at) {
    Vec byte = both(load(at), splat(-128));
    for (int i = 1; i < 8; ++i) {
        // A 16-bit shift moves bits across bytes: the mask takes only what started as this byte's sign.
        const Vec moved = _mm256_srl_epi16(load(at + static_cast<unsigned>(i) * kLanes), _mm_cvtsi32_si128(i));
        byte = _mm256_or_si256(byte, both(moved, splat(0x80 >> i)));
    }
    return byte;
}

// 16 bytes of each of two rows, side by side.
inline Vec load_pieces(const std::int8_t* const* rows, std::size_t at) {
    return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(rows[16] + at), reinterpret_cast<const __m128i*>(rows[0] + at));
}

// One check over `Degree` bits. What the checks of lanes outside `keep` said before counts as 0.
template <unsigned Degree, bool Fresh>
inline void update_check(std::int8_t* posterior, const std::uint32_t* bits, std::int8_t* messages, LaneMask keep) {
    const Vec one = splat(1), limit = splat(31);
    Vec t[Degree];
    Vec odd = _mm256_setzero_si256(), smallest = limit, second = limit;
#pragma GCC unroll 32
    for (unsigned j = 0; j < Degree; ++j) {
        Vec said = load(messages + j * kLanes);
        if (Fresh) said = both(said, keep);
        t[j] = _mm256_subs_epi8(load(posterior + std::size_t{bits[j]} * (kLanes / 8)), said);
        const Vec a = _mm256_abs_epi8(t[j]);
        odd = _mm256_xor_si256(odd, t[j]);
        second = _mm256_min_epu8(second, _mm256_max_epu8(smallest, a));
        smallest = _mm256_min_epu8(smallest, a);
    }
    // The others' smallest magnitude is smallest + second - min(own, second). The offset is taken off both, and off the own.
    const Vec low = _mm256_subs_epu8(smallest, one), high = _mm256_subs_epu8(second, one);
    const Vec sum = _mm256_add_epi8(low, high);
#pragma GCC unroll 32
    for (unsigned j = 0; j < Degree; ++j) {
        const Vec own = _mm256_subs_epu8(_mm256_abs_epi8(t[j]), one);
        Vec said = _mm256_sub_epi8(sum, _mm256_min_epu8(own, high));
        said = _mm256_sign_epi8(said, _mm256_or_si256(_mm256_xor_si256(odd, t[j]), one));
        store(messages + j * kLanes, said);
        store(posterior + std::size_t{bits[j]} * (kLanes / 8), _mm256_adds_epi8(t[j], said));
    }
}

#include "frames_decoder.inc"

}  // namespace

const FramesKernel kFramesAvx2{kLanes, workspace_bytes, decode};

}  // namespace featcodec::ldpc
