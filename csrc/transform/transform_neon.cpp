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

// Rows of 8 numbers become columns.
inline void transpose(int16x8_t (&rows)[kTileSide]) {
    int32x4_t pairs[kTileSide];
    for (std::size_t i = 0; i < kTileSide; i += 2) {
        pairs[i] = vreinterpretq_s32_s16(vtrn1q_s16(rows[i], rows[i + 1]));
        pairs[i + 1] = vreinterpretq_s32_s16(vtrn2q_s16(rows[i], rows[i + 1]));
    }
    int64x2_t quads[kTileSide];
    for (std::size_t i = 0; i < kTileSide; i += i % 4 == 0 ? 1 : 3) {  // 0, 1, 4, 5
        quads[i] = vreinterpretq_s64_s32(vtrn1q_s32(pairs[i], pairs[i + 2]));
        quads[i + 2] = vreinterpretq_s64_s32(vtrn2q_s32(pairs[i], pairs[i + 2]));
    }
    for (std::size_t i = 0; i < 4; ++i) {
        rows[i] = vreinterpretq_s16_s64(vtrn1q_s64(quads[i], quads[i + 4]));
        rows[i + 4] = vreinterpretq_s16_s64(vtrn2q_s64(quads[i], quads[i + 4]));
    }
}

bool tile_in(const Tile& tile) {
    int16x8_t rows[kTileSide];
    uint32x4_t numbers = vdupq_n_u32(UINT32_MAX);  // a NaN would become 0
    for (std::size_t i = 0; i < kTileSide; ++i) {
        const float32x4_t low = vmulq_n_f32(vld1q_f32(tile.from + i * tile.stride), tile.unit);
        const float32x4_t high = vmulq_n_f32(vld1q_f32(tile.from + i * tile.stride + 4), tile.unit);
        numbers = vandq_u32(numbers, vandq_u32(vceqq_f32(low, low), vceqq_f32(high, high)));
        rows[i] = vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(low)), vqmovn_s32(vcvtnq_s32_f32(high)));
    }
    transpose(rows);
    uint16x8_t doubt = vreinterpretq_u16_u32(vmvnq_u32(numbers));
    for (std::size_t i = 0; i < kTileSide; ++i) {
        const int16x8_t moved = vqsubq_s16(rows[i], vld1q_s16(tile.means + tile.mean_at[i]));
        const uint16x8_t ends = vorrq_u16(vceqq_s16(rows[i], vdupq_n_s16(INT16_MAX)), vceqq_s16(rows[i], vdupq_n_s16(INT16_MIN)));
        doubt = vorrq_u16(doubt, vorrq_u16(ends, vcgtq_s16(vqabsq_s16(moved), vdupq_n_s16(8191))));
        vst1q_s16(tile.integers + tile.at[i], moved);
    }
    return vmaxvq_u16(doubt) == 0;
}

void tile_out(const Tile& tile) {
    int16x8_t rows[kTileSide], means[kTileSide];
    for (std::size_t i = 0; i < kTileSide; ++i) {
        rows[i] = vld1q_s16(tile.integers + tile.at[i]);
        means[i] = vld1q_s16(tile.means + tile.mean_at[i]);
    }
    transpose(rows);
    transpose(means);
    for (std::size_t i = 0; i < kTileSide; ++i) {
        const int32x4_t low = vaddl_s16(vget_low_s16(rows[i]), vget_low_s16(means[i]));
        const int32x4_t high = vaddl_s16(vget_high_s16(rows[i]), vget_high_s16(means[i]));
        vst1q_f32(tile.to + i * tile.stride, vmulq_n_f32(vcvtq_f32_s32(low), tile.unit));
        vst1q_f32(tile.to + i * tile.stride + 4, vmulq_n_f32(vcvtq_f32_s32(high), tile.unit));
    }
}

}  // namespace

const TransformKernels kTransformNeon = {"neon", multiply<std::int16_t>, multiply<std::int32_t>, combine, tile_in, tile_out};

}  // namespace featcodec

#endif
