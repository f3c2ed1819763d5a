// The transform's products in 16-byte vectors (NEON of AArch64): 16 rows of a panel are four of them, or 8 numbers of a long row are one.
#if defined(FEATCODEC_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "transform_kernels.hpp"

namespace featcodec {
namespace {

inline void put(std::int32_t* to, int32x4_t v) { vst1q_s32(to, v); }
inline void put(std::int16_t* to, int32x4_t v) { vst1_s16(to, vqmovn_s32(v)); }

// Four rows of a panel and one vector.
template <class Number>
void quarter_times(const Panels& matrix, std::size_t panel, std::size_t row, const std::int16_t* in, Number* out) {
    const std::int16_t* numbers = matrix.numbers + panel * matrix.stride + 2 * row;
    int32x4_t sum = vld1q_s32(matrix.addends + panel * kPanelRows + row);
    for (std::size_t pair = 0; pair < matrix.pairs; ++pair, numbers += 2 * kPanelRows) {
        const int16x4x2_t columns = vld2_s16(numbers);
        sum = vmlal_n_s16(sum, columns.val[0], in[2 * pair]);
        sum = vmlal_n_s16(sum, columns.val[1], in[2 * pair + 1]);
    }
    const int32x4_t shift = vnegq_s32(vld1q_s32(matrix.shifts + panel * kPanelRows + row));
    put(out + panel * kPanelRows + row, vshlq_s32(sum, shift));
}

template <class Number>
void multiply(const Panels& matrix, const InVectors& in, Number* out, std::size_t out_stride) {
    for (std::size_t panel = 0; panel < matrix.panels; ++panel) {
        for (std::size_t v = 0; v < in.count; ++v) {
            for (std::size_t row = 0; row < kPanelRows; row += 4) {
                quarter_times(matrix, panel, row, in.at + v * in.stride, out + v * out_stride);
            }
        }
    }
}

void combine(const Combination& matrix, const std::int16_t* in, std::size_t in_stride, std::size_t length, std::int16_t* out,
             std::size_t out_stride) {
    const int32x4_t addend = vdupq_n_s32(matrix.shift > 0 ? 1 << (matrix.shift - 1) : 0);
    const int32x4_t shift = vdupq_n_s32(-static_cast<int>(matrix.shift));
    for (std::size_t row = 0; row < matrix.rows; ++row) {
        const std::int16_t* numbers = matrix.numbers + row * matrix.stride;
        for (std::size_t i = 0; i < length; i += 8) {
            int32x4_t low = addend, high = addend;
            for (std::size_t c = 0; c < matrix.columns; ++c) {
                const int16x8_t x = vld1q_s16(in + c * in_stride + i);
                low = vmlal_n_s16(low, vget_low_s16(x), numbers[c]);
                high = vmlal_n_s16(high, vget_high_s16(x), numbers[c]);
            }
            vst1q_s16(out + row * out_stride + i, vcombine_s16(vqmovn_s32(vshlq_s32(low, shift)), vqmovn_s32(vshlq_s32(high, shift))));
        }
    }
}

}  // namespace

const TransformKernels kTransformNeon = {"neon", multiply<std::int16_t>, multiply<std::int32_t>, combine};

}  // namespace featcodec

#endif
