// Matrices of the transform as the kernels take them: int16 numbers, a shift with rounding for every row, sums of 32 bits that are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transform_kernels.hpp"

namespace featcodec {

inline constexpr unsigned kMostShift = 24;
inline constexpr std::int64_t kMostRowSum = 61440;  // of a row's absolutes

// Whether sums over a row are exact, whatever int16 it meets: see transform_kernels.hpp.
bool row_fits(std::span<const std::int16_t> row, unsigned shift) noexcept;

// A matrix in panels.
class PackedMatrix {
public:
    PackedMatrix() = default;
    // numbers: order.size() rows of as many numbers, each of which row_fits. Row i is `order`'s, or column i is: what comes first may
    // be multiplied alone.
    enum class Ordered { rows, columns };
    PackedMatrix(const std::int16_t* numbers, const std::uint8_t* shifts, std::span<const std::uint32_t> order, Ordered ordered);

    // The first rows and columns. Of a vector an even number is read: where that is one more, it meets a column of zeros or must be zero.
    // Of a result a multiple of kPanelRows is written.
    Panels view(std::size_t rows, std::size_t columns) const noexcept;

private:
    std::vector<std::int16_t> numbers_;
    std::vector<std::int32_t> addends_, shifts_;
    std::size_t stride_ = 0;
};

// size rounded up to a multiple of `unit`.
constexpr std::size_t rounded_up(std::size_t size, std::size_t unit) noexcept { return (size + unit - 1) / unit * unit; }

}  // namespace featcodec
