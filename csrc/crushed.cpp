// Two passes over a row, several sums at a time: one would wait for its own last addition. Squares of float32 are far from
// overflowing double, and a row of one value has just that mean: its sums are exact.
#include "crushed.hpp"

#include <array>
#include <numeric>
#include <stdexcept>

namespace featcodec {
namespace {

constexpr std::size_t kSums = 8;
using Sums = std::array<double, kSums>;

double total(const Sums& sums) { return std::accumulate(sums.begin(), sums.end(), 0.0); }

double mean_of(const float* x, std::size_t width) {
    Sums sums{};
    std::size_t i = 0;
    for (; i + kSums <= width; i += kSums) {
        for (std::size_t k = 0; k < kSums; ++k) sums[k] += static_cast<double>(x[i + k]);
    }
    for (; i < width; ++i) sums[0] += static_cast<double>(x[i]);
    return total(sums) / static_cast<double>(width);
}

bool is_crushed(const float* x, const float* y, std::size_t width) {
    const double mean = mean_of(x, width);
    Sums errors{};
    Sums spreads{};
    const auto add = [&](std::size_t k, std::size_t i) {
        const auto value = static_cast<double>(x[i]);
        const double error = value - static_cast<double>(y[i]);
        const double spread = value - mean;
        errors[k] += error * error;
        spreads[k] += spread * spread;
    };
    std::size_t i = 0;
    for (; i + kSums <= width; i += kSums) {
        for (std::size_t k = 0; k < kSums; ++k) add(k, i + k);
    }
    for (; i < width; ++i) add(0, i);
    return total(errors) > 0.5 * total(spreads);
}

}  // namespace

std::size_t crushed_tokens(std::span<const float> x, std::span<const float> y, std::size_t width) {
    if (x.size() != y.size()) throw std::invalid_argument("x and y must have one size");
    if (width == 0) return 0;
    if (x.size() % width != 0) throw std::invalid_argument("x must hold whole rows");
    std::size_t count = 0;
    for (std::size_t row = 0; row < x.size(); row += width) count += is_crushed(x.data() + row, y.data() + row, width) ? 1 : 0;
    return count;
}

}  // namespace featcodec
