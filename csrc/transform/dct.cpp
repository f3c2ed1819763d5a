#include "dct.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <stdexcept>

namespace featcodec {
namespace {

std::int64_t rounded(std::int64_t value, unsigned shift) { return (value + ((std::int64_t{1} << shift) >> 1)) >> shift; }

unsigned least_shift(std::int64_t largest) {
    unsigned shift = 0;
    while (rounded(largest, shift) > INT16_MAX) ++shift;
    return shift;
}

// Of coefficient k, value i.
std::int16_t number_of(std::size_t length, std::size_t k, std::size_t i) {
    const auto size = static_cast<double>(length);
    const double scale = std::ldexp(std::sqrt((k == 0 ? 1.0 : 2.0) / size), kDctPrecision);
    const double angle = std::numbers::pi * static_cast<double>((2 * i + 1) * k % (4 * length)) / (2.0 * size);
    return static_cast<std::int16_t>(std::lrint(scale * std::cos(angle)));
}

}  // namespace

Dct::Dct(std::size_t length) : length_(length), stride_((length + 1) / 2 * 2) {
    if (length == 0 || length > kMostDct) throw std::invalid_argument("a block has sides of 1 to 32");
    forward_.resize(length * stride_);
    inverse_.resize(length * stride_);
    for (std::size_t k = 0; k < length; ++k) {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < length; ++i) {  // the second half is the first, mirrored exactly, negative where k is odd
            const std::size_t mirrored = length - 1 - i;
            int number = 0;
            if (i <= mirrored) number = i == mirrored && k % 2 == 1 ? 0 : number_of(length, k, i);
            else number = k % 2 == 1 ? -number_of(length, k, mirrored) : number_of(length, k, mirrored);
            forward_[k * stride_ + i] = inverse_[i * stride_ + k] = static_cast<std::int16_t>(number);
            sum += std::abs(number);
        }
        row_sum_ = std::max(row_sum_, sum);
    }
}

DctShifts dct_shifts(const Dct& rows, const Dct& columns, std::int64_t largest) noexcept {
    const unsigned first = least_shift(rows.largest(largest));
    return {first, least_shift(columns.largest(rounded(rows.largest(largest), first)))};
}

}  // namespace featcodec
