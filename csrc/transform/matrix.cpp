#include "matrix.hpp"

#include <cstdlib>

namespace featcodec {

bool row_fits(std::span<const std::int16_t> row, unsigned shift) noexcept {
    std::int64_t sum = 0;
    for (const std::int16_t number : row) sum += std::abs(int{number});
    return shift <= kMostShift && sum <= kMostRowSum;
}

PackedMatrix::PackedMatrix(const std::int16_t* numbers, const std::uint8_t* shifts, std::span<const std::uint32_t> order, Ordered ordered) {
    const std::size_t size = order.size();
    const std::size_t padded = rounded_up(size, kPanelRows);
    stride_ = rounded_up(size, 2) * kPanelRows;
    numbers_.resize(padded / kPanelRows * stride_);
    addends_.resize(padded);
    shifts_.resize(padded);
    for (std::size_t row = 0; row < size; ++row) {
        const std::size_t from_row = ordered == Ordered::rows ? order[row] : row;
        std::int16_t* const to = numbers_.data() + row / kPanelRows * stride_ + row % kPanelRows * 2;
        for (std::size_t c = 0; c < size; ++c) {
            to[c / 2 * 2 * kPanelRows + c % 2] = numbers[from_row * size + (ordered == Ordered::columns ? order[c] : c)];
        }
        shifts_[row] = shifts[from_row];
        addends_[row] = (std::int32_t{1} << shifts[from_row]) >> 1;
    }
}

Panels PackedMatrix::view(std::size_t rows, std::size_t columns) const noexcept {
    return {numbers_.data(), addends_.data(), shifts_.data(), (rows + kPanelRows - 1) / kPanelRows, (columns + 1) / 2, stride_};
}

}  // namespace featcodec
