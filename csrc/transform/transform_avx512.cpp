// The transform's products in 64-byte vectors: 16 rows of a panel are one of them, as are 32 numbers of a long row.
#if defined(FEATCODEC_X86)

// gcc 12 takes the "undefined" operands inside its own intrinsics for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "transform_kernels.hpp"

namespace featcodec {
namespace {

inline __m512i load(const void* from) { return _mm512_loadu_si512(from); }

// Two numbers, in every lane of 32 bits.
inline __m512i pair_at(const std::int16_t* from) {
    std::int32_t both = 0;
    std::memcpy(&both, from, sizeof both);
    return _mm512_set1_epi32(both);
}

inline void put(std::int32_t* to, __m512i v) { _mm512_storeu_si512(to, v); }
inline void put(std::int16_t* to, __m512i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(v)); }

// kCount vectors and one panel.
template <std::size_t kCount, class Number>
void panel_times(const Panels& matrix, std::size_t panel, const std::int16_t* in, std::size_t in_stride, Number* out, std::size_t out_stride) {
    const std::int16_t* numbers = matrix.numbers + panel * matrix.stride;
    __m512i sums[kCount];
    for (std::size_t v = 0; v < kCount; ++v) sums[v] = load(matrix.addends + panel * kPanelRows);
    for (std::size_t pair = 0; pair < matrix.pairs; ++pair, numbers += 2 * kPanelRows) {
        const __m512i columns = load(numbers);
        for (std::size_t v = 0; v < kCount; ++v) {
            sums[v] = _mm512_add_epi32(sums[v], _mm512_madd_epi16(columns, pair_at(in + v * in_stride + 2 * pair)));
        }
    }
    const __m512i shift = load(matrix.shifts + panel * kPanelRows);
    for (std::size_t v = 0; v < kCount; ++v) put(out + v * out_stride + panel * kPanelRows, _mm512_srav_epi32(sums[v], shift));
}

template <class Number>
void multiply(const Panels& matrix, const InVectors& in, Number* out, std::size_t out_stride) {
    for (std::size_t panel = 0; panel < matrix.panels; ++panel) {
        std::size_t v = 0;
        for (; v + 8 <= in.count; v += 8) panel_times<8>(matrix, panel, in.at + v * in.stride, in.stride, out + v * out_stride, out_stride);
        for (; v < in.count; ++v) panel_times<1>(matrix, panel, in.at + v * in.stride, in.stride, out + v * out_stride, out_stride);
    }
}

// kRows rows of 32 numbers. unpack and packs take the quarters of a vector in the same order.
template <std::size_t kRows>
void rows_of(const Combination& matrix, std::size_t row, const std::int16_t* in, std::size_t in_stride, std::int16_t* out, std::size_t out_stride) {
    const __m512i addend = _mm512_set1_epi32(matrix.shift > 0 ? 1 << (matrix.shift - 1) : 0);
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(matrix.shift));
    const std::int16_t* numbers = matrix.numbers + row * matrix.stride;
    __m512i low[kRows], high[kRows];
    for (std::size_t r = 0; r < kRows; ++r) low[r] = high[r] = addend;
    for (std::size_t c = 0; c < matrix.columns; c += 2) {
        const __m512i a = load(in + c * in_stride), b = c + 1 < matrix.columns ? load(in + (c + 1) * in_stride) : _mm512_setzero_si512();
        const __m512i first = _mm512_unpacklo_epi16(a, b), second = _mm512_unpackhi_epi16(a, b);
        for (std::size_t r = 0; r < kRows; ++r) {
            const __m512i both = pair_at(numbers + r * matrix.stride + c);
            low[r] = _mm512_add_epi32(low[r], _mm512_madd_epi16(first, both));
            high[r] = _mm512_add_epi32(high[r], _mm512_madd_epi16(second, both));
        }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
        _mm512_storeu_si512(out + (row + r) * out_stride, _mm512_packs_epi32(_mm512_sra_epi32(low[r], shift), _mm512_sra_epi32(high[r], shift)));
    }
}

void combine(const Combination& matrix, const std::int16_t* in, std::size_t in_stride, std::size_t length, std::int16_t* out,
             std::size_t out_stride) {
    for (std::size_t i = 0; i < length; i += 32) {
        std::size_t row = 0;
        for (; row + 8 <= matrix.rows; row += 8) rows_of<8>(matrix, row, in + i, in_stride, out + i, out_stride);
        for (; row < matrix.rows; ++row) rows_of<1>(matrix, row, in + i, in_stride, out + i, out_stride);
    }
}

}  // namespace

const TransformKernels kTransformAvx512 = {"avx512", multiply<std::int16_t>, multiply<std::int32_t>, combine, tile_in_avx2, tile_out_avx2};

}  // namespace featcodec

#endif
