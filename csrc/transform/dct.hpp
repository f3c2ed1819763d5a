// The DCT-II of short rows in integers, by its matrix. Normative: docs/transform.md, "Cosine transform".
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transform_kernels.hpp"

namespace featcodec {

inline constexpr std::size_t kMostDct = 32;
inline constexpr unsigned kDctPrecision = 13;

// Of one length, both ways: numbers are rint(2^13 * those of the orthonormal matrix), no one of which lies near a tie.
// A sum of a row's absolutes is below 2^13 * sqrt(32), and so is one of a column: 46341 (transform_kernels.hpp).
class Dct {
public:
    // length: 1..kMostDct, else std::invalid_argument
    explicit Dct(std::size_t length);

    // The largest magnitude of a coefficient of such values, before it is shifted.
    std::int64_t largest(std::int64_t value) const noexcept { return value * row_sum_; }
    // The first `rows` coefficients of `length` values, and all values of the first `columns` coefficients.
    Combination forward(std::size_t rows, unsigned shift) const noexcept { return {forward_.data(), stride_, rows, length_, shift}; }
    Combination inverse(std::size_t columns, unsigned shift) const noexcept { return {inverse_.data(), stride_, length_, columns, shift}; }

private:
    std::size_t length_;
    std::size_t stride_;  // an even number
    std::int64_t row_sum_ = 0;  // the largest sum of absolutes
    std::vector<std::int16_t> forward_, inverse_;
};

// The shifts after a block's two passes, the smallest with which neither leaves int16 where no value is above `largest`.
struct DctShifts {
    unsigned rows;
    unsigned columns;
};
DctShifts dct_shifts(const Dct& rows, const Dct& columns, std::int64_t largest) noexcept;

}  // namespace featcodec
