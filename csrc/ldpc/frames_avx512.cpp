// The decoder across 64 frames: AVX-512 BW.
#include "frames_kernel.hpp"

#include <cstring>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

namespace featcodec::ldpc {
namespace {

using Vec = __m512i;
using Word = std::uint64_t;   // one bit a lane
using LaneMask = __mmask64;   // lanes to write or to keep
constexpr unsigned kLanes = 64;

inline Vec load(const void* at) { return _mm512_load_si512(at); }
inline void store(void* at, Vec v) { _mm512_store_si512(at, v); }
inline Vec splat(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
inline Vec add_saturated(Vec a, Vec b) { return _mm512_adds_epi8(a, b); }
inline Vec clamp(Vec v, Vec low, Vec high) { return _mm512_min_epi8(_mm512_max_epi8(v, low), high); }
inline LaneMask lane_mask(Word lanes) { return lanes; }
inline void store_lanes(void* at, LaneMask lanes, Vec v) { _mm512_mask_storeu_epi8(at, lanes, v); }
inline Word signs(Vec v) { return _mm512_movepi8_mask(v); }
inline Word zeros(Vec v) { return _mm512_testn_epi8_mask(v, v); }
inline unsigned count_lanes(Word lanes) { return static_cast<unsigned>(__builtin_popcountll(lanes)); }
inline unsigned first_lane(Word lanes) { return static_cast<unsigned>(__builtin_ctzll(lanes)); }
inline Vec unpack_low8(Vec a, Vec b) { return _mm512_unpacklo_epi8(a, b); }
inline Vec unpack_high8(Vec a, Vec b) { return _mm512_unpackhi_epi8(a, b); }
inline Vec both(Vec a, Vec b) { return _mm512_and_si512(a, b); }
inline Vec min_unsigned(Vec a, Vec b) { return _mm512_min_epu8(a, b); }

// The sign bits of eight vectors as one byte a lane, the first the most significant.
inline Vec gather_signs(const std::int8_t* at) {
    Vec byte = _mm512_and_si512(load(at), splat(-128));
    for (unsigned i = 1; i < 8; ++i) {
        // A 16-bit shift moves bits across bytes: the mask takes only what started as this byte's sign.
        const Vec moved = _mm512_srl_epi16(load(at + i * kLanes), _mm_cvtsi32_si128(static_cast<int>(i)));
        byte = _mm512_ternarylogic_epi64(byte, moved, splat(0x80 >> i), 0xf8);  // byte | (moved & bit)
    }
    return byte;
}

// 16 bytes of each of four rows, side by side.
inline Vec load_pieces(const std::int8_t* const* rows, std::size_t at) {
    const auto piece = [&](unsigned g) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[16 * g] + at)); };
    Vec v = _mm512_castsi128_si512(piece(0));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, piece(1));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, piece(2));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, piece(3));
}

// Saturating arithmetic, absolute values and minima run on one 512-bit port of current Intel cores, comparisons on the other, masked subtraction on both:
// magnitudes are made by the latter two.
inline __mmask64 negative(Vec v) { return _mm512_test_epi8_mask(v, splat(-128)); }
inline Vec negate(Vec v, __mmask64 lanes) { return _mm512_mask_sub_epi8(v, lanes, _mm512_setzero_si512(), v); }

constexpr unsigned kKeptSigns = 4;  // sign masks that stay in mask registers from a check's first pass to its second

// One check over `Degree` bits. What the checks of lanes outside `keep` said before counts as 0.
template <unsigned Degree, bool Fresh>
inline void update_check(std::int8_t* posterior, const std::uint32_t* bits, std::int8_t* messages, LaneMask keep) {
    const Vec one = splat(1), limit = splat(31);
    Vec t[Degree], a[Degree];
    __mmask64 sign[kKeptSigns + 1];
    Vec odd = _mm512_setzero_si512(), smallest = limit, second = limit;
#pragma GCC unroll 32
    for (unsigned j = 0; j < Degree; ++j) {
        const std::int8_t* m = messages + j * kLanes;
        const Vec said = Fresh ? _mm512_maskz_loadu_epi8(keep, m) : load(m);
        t[j] = _mm512_subs_epi8(load(posterior + std::size_t{bits[j]} * (kLanes / 8)), said);
        if (j < kKeptSigns) {
            sign[j] = negative(t[j]);
            a[j] = negate(t[j], sign[j]);
        } else {
            a[j] = _mm512_abs_epi8(t[j]);
        }
        odd = j == 0 ? t[0] : _mm512_xor_si512(odd, t[j]);
        if (j == 1) second = _mm512_max_epu8(smallest, a[1]);
        if (j > 1) second = _mm512_min_epu8(second, _mm512_max_epu8(smallest, a[j]));
        smallest = j == 0 ? a[0] : _mm512_min_epu8(smallest, a[j]);
    }
    const __mmask64 flip = negative(odd);
    const Vec low = negate(_mm512_subs_epu8(_mm512_min_epu8(smallest, limit), one), flip);
    const Vec high = negate(_mm512_subs_epu8(_mm512_min_epu8(second, limit), one), flip);
#pragma GCC unroll 32
    for (unsigned j = 0; j < Degree; ++j) {
        Vec said = _mm512_mask_mov_epi8(low, _mm512_cmpeq_epi8_mask(a[j], smallest), high);
        said = negate(said, j < kKeptSigns ? sign[j] : negative(t[j]));
        store(messages + j * kLanes, said);
        store(posterior + std::size_t{bits[j]} * (kLanes / 8), _mm512_adds_epi8(t[j], said));
    }
}

#include "frames_decoder.inc"

}  // namespace

const FramesKernel kFramesAvx512{kLanes, workspace_bytes, decode};

}  // namespace featcodec::ldpc
#pragma GCC diagnostic pop
