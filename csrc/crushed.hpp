// Which tokens a codec destroyed: those whose error is more than half of what tells them from their mean.
#pragma once

#include <cstddef>
#include <span>

#include "exact_math.hpp"

namespace featcodec {

// The rows x of `width` values with sum (x - y)^2 > 0.5 sum (x - mean(x))^2, in double; a row of one value that y kept is none.
// x.size() is y.size(), a multiple of width (else std::invalid_argument); width 0: no rows. NaN is in no such row.
std::size_t crushed_tokens(std::span<const float> x, std::span<const float> y, std::size_t width);

}  // namespace featcodec
