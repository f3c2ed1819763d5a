// The transform's products as docs/transform.md has them: the oracle of the other levels.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "transform_kernels.hpp"

namespace featcodec {
namespace {

std::int16_t saturated(std::int32_t value) { return static_cast<std::int16_t>(std::clamp(value, INT16_MIN, INT16_MAX)); }

// Of one panel row and one vector, shifted.
std::int32_t product(const Panels& matrix, std::size_t panel, std::size_t row, const std::int16_t* vector) {
    const std::int16_t* numbers = matrix.numbers + panel * matrix.stride + 2 * row;
    std::int32_t sum = matrix.addends[panel * kPanelRows + row];
    for (std::size_t pair = 0; pair < matrix.pairs; ++pair, numbers += 2 * kPanelRows) {
        sum += numbers[0] * vector[2 * pair] + numbers[1] * vector[2 * pair + 1];
    }
    return sum >> matrix.shifts[panel * kPanelRows + row];
}

template <class Number, class Made>
void multiply(const Panels& matrix, const InVectors& in, Number* out, std::size_t out_stride, const Made& made) {
    for (std::size_t v = 0; v < in.count; ++v) {
        for (std::size_t panel = 0; panel < matrix.panels; ++panel) {
            for (std::size_t row = 0; row < kPanelRows; ++row) {
                out[v * out_stride + panel * kPanelRows + row] = made(product(matrix, panel, row, in.at + v * in.stride));
            }
        }
    }
}

void multiply16(const Panels& matrix, const InVectors& in, std::int16_t* out, std::size_t out_stride) {
    multiply(matrix, in, out, out_stride, saturated);
}

void multiply32(const Panels& matrix, const InVectors& in, std::int32_t* out, std::size_t out_stride) {
    multiply(matrix, in, out, out_stride, [](std::int32_t value) { return value; });
}

void combine(const Combination& matrix, const std::int16_t* in, std::size_t in_stride, std::size_t length, std::int16_t* out,
             std::size_t out_stride) {
    for (std::size_t row = 0; row < matrix.rows; ++row) {
        const std::int16_t* numbers = matrix.numbers + row * matrix.stride;
        for (std::size_t i = 0; i < length; ++i) {
            std::int32_t sum = matrix.shift > 0 ? std::int32_t{1} << (matrix.shift - 1) : 0;
            for (std::size_t c = 0; c < matrix.columns; ++c) sum += numbers[c] * in[c * in_stride + i];
            out[row * out_stride + i] = saturated(sum >> matrix.shift);
        }
    }
}

}  // namespace

const TransformKernels kTransformScalar = {"scalar", multiply16, multiply32, combine, nullptr, nullptr};

}  // namespace featcodec
