// The quantizers in portable C++, one value at a time, as the formulas are written: the oracle of the vector kernels.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "quantize_kernels.hpp"

namespace featcodec {
namespace {

// ---- the float types: load and store of value i, at any alignment ---------------------------------------------------------
template <class Word>
Word load_word(const void* x, std::size_t i) {
    Word word;
    std::memcpy(&word, static_cast<const std::uint8_t*>(x) + i * sizeof word, sizeof word);
    return word;
}

template <class Word>
void store_word(void* x, std::size_t i, Word word) {
    std::memcpy(static_cast<std::uint8_t*>(x) + i * sizeof word, &word, sizeof word);
}

struct Float32 {
    using Word = std::uint32_t;
    static float load(const void* x, std::size_t i) { return std::bit_cast<float>(load_word<Word>(x, i)); }
    static Word narrow(float value) { return std::bit_cast<Word>(value); }
};

struct BFloat16 {
    using Word = std::uint16_t;
    static float load(const void* x, std::size_t i) { return std::bit_cast<float>(std::uint32_t{load_word<Word>(x, i)} << 16); }
    static Word narrow(float value) {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t magnitude = std::min(bits & 0x7FFFFFFFu, 0x7F7F0000u);  // its largest finite value
        return static_cast<Word>(((bits & 0x80000000u) | (magnitude + 0x7FFFu + ((magnitude >> 16) & 1u))) >> 16);
    }
};

struct Float16 {
    using Word = std::uint16_t;
    // The exponent is moved by a multiplication, which normalizes subnormal halves on the way.
    static float load(const void* x, std::size_t i) {
        const std::uint32_t half = load_word<Word>(x, i);
        const float magnitude = std::bit_cast<float>((half & 0x7FFFu) << 13) * 0x1p112f;
        const std::uint32_t special = (half & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
        return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | special | (half & 0x8000u) << 16);
    }
    static Word narrow(float value) {
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t sign = (bits >> 16) & 0x8000u;
        const std::uint32_t magnitude = std::min(bits & 0x7FFFFFFFu, 0x477FE000u);  // 65504
        if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, which adding 1/2 leaves in the low bits, rounded
            const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
            return static_cast<Word>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u));
        }
        const std::uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
        return static_cast<Word>(sign | ((rounded - 0x38000000u) >> 13));
    }
};

// ---- ranges ----------------------------------------------------------------------------------------------------------------
template <class Word, class Signed>
void extremes(const void* x, std::size_t count, BitExtremes& result) {
    const Word first = load_word<Word>(x, 0);
    auto smax = static_cast<Signed>(first);
    Word umax = first;
    Word umin = first;
    for (std::size_t i = 1; i < count; ++i) {
        const Word word = load_word<Word>(x, i);
        smax = std::max(smax, static_cast<Signed>(word));
        umax = std::max(umax, word);
        umin = std::min(umin, word);
    }
    result = {smax, umax, umin};
}

// ---- min-max -----------------------------------------------------------------------------------------------------------------
// value rounded half to even, as the low 32 bits of two's complement, for |value| < 2^31; anything for others. The sum has no room for
// a fraction, and its low bits are the integer: no branch, no conversion that could be out of range.
std::uint32_t rounded_bits(double value) { return static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(value + 0x1.8p52)); }

template <class Float, class Symbol>
void quantize(const void* x, std::size_t count, const QuantizePlan& plan, Symbol* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const double scaled = (static_cast<double>(Float::load(x, i)) - plan.min) / plan.range * plan.levels;
        out[i] = static_cast<Symbol>(std::min<std::uint32_t>(rounded_bits(scaled), plan.top));  // x outside the range meets the bound
    }
}

float value_of(unsigned symbol, const DequantizePlan& plan) {
    return static_cast<float>(plan.min + static_cast<double>(symbol) * plan.step);
}

template <class Float, class Symbol>
void dequantize(const Symbol* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    if (plan.bits <= 8 && count >= (std::size_t{2} << plan.bits)) {
        // 256 entries always: a symbol beyond 2^bits must not read outside.
        std::array<typename Float::Word, 256> table;
        for (unsigned symbol = 0; symbol < 256; ++symbol) {
            table[symbol] = Float::narrow(value_of(symbol & ((1u << plan.bits) - 1), plan));
        }
        for (std::size_t i = 0; i < count; ++i) store_word(out, i, table[symbols[i] & 255u]);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) store_word(out, i, Float::narrow(value_of(symbols[i], plan)));
}

// ---- step ------------------------------------------------------------------------------------------------------------------
template <class Float>
std::size_t quantize_step(const void* x, std::size_t count, float step, std::int16_t* out) {
    constexpr double kClamp = 40000.0;
    const double width = step;
    std::size_t outside = 0;
    for (std::size_t i = 0; i < count; ++i) {
        double scaled = static_cast<double>(Float::load(x, i)) / width;
        scaled = scaled < kClamp ? scaled : kClamp;  // NaN as well
        scaled = scaled > -kClamp ? scaled : -kClamp;
        const auto rounded = static_cast<std::int32_t>(rounded_bits(scaled));
        const std::int32_t symbol = std::clamp(rounded, -32768, 32767);
        outside += symbol != rounded;
        out[i] = static_cast<std::int16_t>(symbol);
    }
    return outside;
}

// The product of a 16-bit and a 24-bit significand is exact in double, so the product of floats rounds the same, once.
template <class Float>
void dequantize_step(const std::int16_t* symbols, std::size_t count, float step, void* out) {
    for (std::size_t i = 0; i < count; ++i) store_word(out, i, Float::narrow(static_cast<float>(symbols[i]) * step));
}

void zigzag(const std::int16_t* values, std::size_t count, std::uint16_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const int value = values[i];
        out[i] = static_cast<std::uint16_t>((value * 2) ^ (value >> 15));
    }
}

void unzigzag(const std::uint16_t* values, std::size_t count, std::int16_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned value = values[i];
        out[i] = static_cast<std::int16_t>((value >> 1) ^ (0u - (value & 1u)));
    }
}

}  // namespace

const QuantizeKernels kQuantizeScalar = {
    "scalar",
    extremes<std::uint32_t, std::int32_t>,
    extremes<std::uint16_t, std::int16_t>,
    {quantize<Float32, std::uint8_t>, quantize<Float16, std::uint8_t>, quantize<BFloat16, std::uint8_t>},
    {quantize<Float32, std::uint16_t>, quantize<Float16, std::uint16_t>, quantize<BFloat16, std::uint16_t>},
    {dequantize<Float32, std::uint8_t>, dequantize<Float16, std::uint8_t>, dequantize<BFloat16, std::uint8_t>},
    {dequantize<Float32, std::uint16_t>, dequantize<Float16, std::uint16_t>, dequantize<BFloat16, std::uint16_t>},
    {quantize_step<Float32>, quantize_step<Float16>, quantize_step<BFloat16>},
    {dequantize_step<Float32>, dequantize_step<Float16>, dequantize_step<BFloat16>},
    zigzag,
    unzigzag,
};

}  // namespace featcodec
