// The transform's products in 32-byte vectors: 16 rows of a panel are two of them, or 16 numbers of a long row are one.
#if defined(FEATCODEC_X86)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "transform_kernels.hpp"

namespace featcodec {
namespace {

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(void* to, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(to), v); }

// Two numbers, in every lane of 32 bits.
inline __m256i pair_at(const std::int16_t* from) {
    std::int32_t both = 0;
    std::memcpy(&both, from, sizeof both);
    return _mm256_set1_epi32(both);
}

inline void put(std::int32_t* to, __m256i low, __m256i high) {
    store(to, low);
    store(to + 8, high);
}
inline void put(std::int16_t* to, __m256i low, __m256i high) { store(to, _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8)); }

// kCount vectors and one panel.
template <std::size_t kCount, class Number>
void panel_times(const Panels& matrix, std::size_t panel, const std::int16_t* in, std::size_t in_stride, Number* out, std::size_t out_stride) {
    const std::int16_t* numbers = matrix.numbers + panel * matrix.stride;
    __m256i low[kCount], high[kCount];
    for (std::size_t v = 0; v < kCount; ++v) {
        low[v] = load(matrix.addends + panel * kPanelRows);
        high[v] = load(matrix.addends + panel * kPanelRows + 8);
    }
    for (std::size_t pair = 0; pair < matrix.pairs; ++pair, numbers += 2 * kPanelRows) {
        const __m256i first = load(numbers), second = load(numbers + kPanelRows);
        for (std::size_t v = 0; v < kCount; ++v) {
            const __m256i both = pair_at(in + v * in_stride + 2 * pair);
            low[v] = _mm256_add_epi32(low[v], _mm256_madd_epi16(first, both));
            high[v] = _mm256_add_epi32(high[v], _mm256_madd_epi16(second, both));
        }
    }
    const __m256i shift_low = load(matrix.shifts + panel * kPanelRows), shift_high = load(matrix.shifts + panel * kPanelRows + 8);
    for (std::size_t v = 0; v < kCount; ++v) {
        put(out + v * out_stride + panel * kPanelRows, _mm256_srav_epi32(low[v], shift_low), _mm256_srav_epi32(high[v], shift_high));
    }
}

template <class Number>
void multiply(const Panels& matrix, const InVectors& in, Number* out, std::size_t out_stride) {
    for (std::size_t panel = 0; panel < matrix.panels; ++panel) {
        std::size_t v = 0;
        for (; v + 4 <= in.count; v += 4) panel_times<4>(matrix, panel, in.at + v * in.stride, in.stride, out + v * out_stride, out_stride);
        for (; v < in.count; ++v) panel_times<1>(matrix, panel, in.at + v * in.stride, in.stride, out + v * out_stride, out_stride);
    }
}

// kRows rows of 16 numbers. unpack and packs take the halves of a vector in the same order.
template <std::size_t kRows>
void rows_of(const Combination& matrix, std::size_t row, const std::int16_t* in, std::size_t in_stride, std::int16_t* out, std::size_t out_stride) {
    const __m256i addend = _mm256_set1_epi32(matrix.shift > 0 ? 1 << (matrix.shift - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(matrix.shift));
    const std::int16_t* numbers = matrix.numbers + row * matrix.stride;
    __m256i low[kRows], high[kRows];
    for (std::size_t r = 0; r < kRows; ++r) low[r] = high[r] = addend;
    for (std::size_t c = 0; c < matrix.columns; c += 2) {
        const __m256i a = load(in + c * in_stride), b = c + 1 < matrix.columns ? load(in + (c + 1) * in_stride) : _mm256_setzero_si256();
        const __m256i first = _mm256_unpacklo_epi16(a, b), second = _mm256_unpackhi_epi16(a, b);
        for (std::size_t r = 0; r < kRows; ++r) {
            const __m256i both = pair_at(numbers + r * matrix.stride + c);
            low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(first, both));
            high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(second, both));
        }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
        store(out + (row + r) * out_stride, _mm256_packs_epi32(_mm256_sra_epi32(low[r], shift), _mm256_sra_epi32(high[r], shift)));
    }
}

void combine(const Combination& matrix, const std::int16_t* in, std::size_t in_stride, std::size_t length, std::int16_t* out,
             std::size_t out_stride) {
    for (std::size_t i = 0; i < length; i += 16) {
        std::size_t row = 0;
        for (; row + 4 <= matrix.rows; row += 4) rows_of<4>(matrix, row, in + i, in_stride, out + i, out_stride);
        for (; row < matrix.rows; ++row) rows_of<1>(matrix, row, in + i, in_stride, out + i, out_stride);
    }
}

// The means of two positions.
inline __m256i means_of(const Tile& tile, std::size_t first, std::size_t second) {
    const auto at = [&](std::size_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.means + tile.mean_at[i])); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(at(first)), at(second), 1);
}

}  // namespace

bool tile_in_avx2(const Tile& tile) {
    const __m256 unit = _mm256_set1_ps(tile.unit);
    __m256i wide[kTileSide];  // of a map: its 8 positions. What is no int32 is INT32_MIN.
    for (std::size_t i = 0; i < kTileSide; ++i) wide[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(tile.from + i * tile.stride), unit));
    __m256i maps[4], low[2], high[2];  // in either half 4 positions: maps i and i + 4; pairs of maps, the first four and the others
    for (std::size_t i = 0; i < 4; ++i) maps[i] = _mm256_packs_epi32(wide[i], wide[i + 4]);
    for (std::size_t i = 0; i < 2; ++i) {
        low[i] = _mm256_unpacklo_epi16(maps[2 * i], maps[2 * i + 1]);
        high[i] = _mm256_unpackhi_epi16(maps[2 * i], maps[2 * i + 1]);
    }
    const __m256i first[2] = {_mm256_unpacklo_epi32(low[0], low[1]), _mm256_unpackhi_epi32(low[0], low[1])};
    const __m256i second[2] = {_mm256_unpacklo_epi32(high[0], high[1]), _mm256_unpackhi_epi32(high[0], high[1])};
    __m256i doubt = _mm256_setzero_si256();
    for (std::size_t i = 0; i < 4; ++i) {  // positions i and i + 4
        const __m256i rounded = i % 2 == 0 ? _mm256_unpacklo_epi64(first[i / 2], second[i / 2]) : _mm256_unpackhi_epi64(first[i / 2], second[i / 2]);
        const __m256i moved = _mm256_subs_epi16(rounded, means_of(tile, i, i + 4));
        const __m256i outside = _mm256_cmpgt_epi16(_mm256_abs_epi16(moved), _mm256_set1_epi16(8191));
        const __m256i least = _mm256_cmpeq_epi16(moved, _mm256_set1_epi16(INT16_MIN));  // which has no absolute
        const __m256i ends = _mm256_or_si256(_mm256_cmpeq_epi16(rounded, _mm256_set1_epi16(INT16_MAX)), _mm256_cmpeq_epi16(rounded, _mm256_set1_epi16(INT16_MIN)));
        doubt = _mm256_or_si256(doubt, _mm256_or_si256(outside, _mm256_or_si256(least, ends)));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.integers + tile.at[i]), _mm256_castsi256_si128(moved));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.integers + tile.at[i + 4]), _mm256_extracti128_si256(moved, 1));
    }
    return _mm256_testz_si256(doubt, doubt) != 0;
}

void tile_out_avx2(const Tile& tile) {
    const __m256 unit = _mm256_set1_ps(tile.unit);
    __m256 rows[kTileSide];  // of a position: its 8 maps
    for (std::size_t i = 0; i < kTileSide; ++i) {
        const auto wide = [](const std::int16_t* from) { return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); };
        const __m256i sum = _mm256_add_epi32(wide(tile.integers + tile.at[i]), wide(tile.means + tile.mean_at[i]));
        rows[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), unit);
    }
    __m256 quads[kTileSide];  // in either half a map's 4 positions: of maps i, i + 4 the first four and the others
    for (std::size_t i = 0; i < 2; ++i) {
        const __m256 a = _mm256_unpacklo_ps(rows[4 * i], rows[4 * i + 1]), b = _mm256_unpacklo_ps(rows[4 * i + 2], rows[4 * i + 3]);
        const __m256 c = _mm256_unpackhi_ps(rows[4 * i], rows[4 * i + 1]), d = _mm256_unpackhi_ps(rows[4 * i + 2], rows[4 * i + 3]);
        quads[4 * i] = _mm256_shuffle_ps(a, b, 0x44);
        quads[4 * i + 1] = _mm256_shuffle_ps(a, b, 0xEE);
        quads[4 * i + 2] = _mm256_shuffle_ps(c, d, 0x44);
        quads[4 * i + 3] = _mm256_shuffle_ps(c, d, 0xEE);
    }
    for (std::size_t i = 0; i < 4; ++i) {
        _mm256_storeu_ps(tile.to + i * tile.stride, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20));
        _mm256_storeu_ps(tile.to + (i + 4) * tile.stride, _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31));
    }
}

const TransformKernels kTransformAvx2 = {"avx2", multiply<std::int16_t>, multiply<std::int32_t>, combine, tile_in_avx2, tile_out_avx2};

}  // namespace featcodec

#endif
