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

}  // namespace

const TransformKernels kTransformAvx2 = {"avx2", multiply<std::int16_t>, multiply<std::int32_t>, combine};

}  // namespace featcodec

#endif
