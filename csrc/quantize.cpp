// The scalar quantisers, the oracle of the others, and the choice between them.
#include "quantize.hpp"

#include <cmath>

namespace featcodec {
namespace {

Range minmax_scalar(const float* x, std::size_t count) {
    Range range{x[0], x[0], true};
    for (std::size_t i = 0; i < count; ++i) {
        range.finite = range.finite && std::isfinite(x[i]);
        range.low = x[i] < range.low ? x[i] : range.low;
        range.high = x[i] > range.high ? x[i] : range.high;
    }
    return range;
}

template <typename Symbol>
void quantize_scalar(const float* x, std::size_t count, float low, float high, unsigned bits, Symbol* symbols) {
    const double m = low;
    const double span = static_cast<double>(high) - m;
    const double levels = (1u << bits) - 1;
    for (std::size_t i = 0; i < count; ++i) symbols[i] = static_cast<Symbol>(std::nearbyint((x[i] - m) / span * levels));
}

template <typename Symbol>
void dequantize_scalar(const Symbol* symbols, std::size_t count, float low, float high, unsigned bits, float* x) {
    const double m = low;
    const double step = (static_cast<double>(high) - m) / ((1u << bits) - 1);
    for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<float>(m + symbols[i] * step);
}

const QuantizeKernels& kernels() noexcept {
#if defined(FEATCODEC_X86)
    switch (current_isa()) {
        case Isa::avx512vbmi:
        case Isa::avx512: return kQuantizeAvx512;
        case Isa::avx2: return kQuantizeAvx2;
        case Isa::scalar: break;
    }
#endif
    return kQuantizeScalar;
}

}  // namespace

const QuantizeKernels kQuantizeScalar = {minmax_scalar, quantize_scalar<std::uint8_t>, quantize_scalar<std::uint16_t>,
                                         dequantize_scalar<std::uint8_t>, dequantize_scalar<std::uint16_t>};

Range minmax(std::span<const float> x) noexcept {
    if (x.empty()) return {};
    Range range = kernels().minmax(x.data(), x.size());
    // Which of -0 and +0 is the minimum depends on the instruction set: let it be +0.
    range.low += 0.0f;
    range.high += 0.0f;
    return range;
}

void quantize(std::span<const float> x, float low, float high, unsigned bits, std::span<std::uint8_t> symbols) noexcept {
    kernels().quantize8(x.data(), x.size(), low, high, bits, symbols.data());
}

void quantize(std::span<const float> x, float low, float high, unsigned bits, std::span<std::uint16_t> symbols) noexcept {
    kernels().quantize16(x.data(), x.size(), low, high, bits, symbols.data());
}

void dequantize(std::span<const std::uint8_t> symbols, float low, float high, unsigned bits, std::span<float> x) noexcept {
    kernels().dequantize8(symbols.data(), symbols.size(), low, high, bits, x.data());
}

void dequantize(std::span<const std::uint16_t> symbols, float low, float high, unsigned bits, std::span<float> x) noexcept {
    kernels().dequantize16(symbols.data(), symbols.size(), low, high, bits, x.data());
}

std::uint16_t step_quantize(std::span<const float> x, double step, bool zigzag, std::span<std::uint16_t> symbols) noexcept {
    std::uint16_t largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double q = std::nearbyint(x[i] / step);
        const auto whole = static_cast<int>(q < INT16_MIN ? INT16_MIN : q > INT16_MAX ? INT16_MAX : q);
        const int coded = zigzag ? (whole >= 0 ? 2 * whole : -2 * whole - 1) : (whole >= 0 ? whole : 0);
        const auto symbol = static_cast<std::uint16_t>(coded);
        symbols[i] = symbol;
        largest = symbol > largest ? symbol : largest;
    }
    return largest;
}

void step_dequantize(std::span<const std::uint16_t> symbols, double step, bool zigzag, std::span<float> x) noexcept {
    for (std::size_t i = 0; i < x.size(); ++i) {
        const int half = symbols[i] >> 1;
        const int whole = !zigzag ? symbols[i] : (symbols[i] & 1) != 0 ? -half - 1 : half;
        x[i] = static_cast<float>(whole * step);
    }
}

}  // namespace featcodec
