// Floats to symbols and back: the n-bit min-max quantizer, the fixed-step quantizer, and what they need to know about a tensor.
// The formulas are docs/conventions.md's, in IEEE double, in the order written, rounded half to even; every ISA level gives the
// same bits. Whatever rounding or flush-to-zero mode the calling thread is in (torch.set_flush_denormal), these set the default one
// for their own duration. Many values are shared out to threads (for_parts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace featcodec {

enum class FloatType : std::uint8_t { float32, float16, bfloat16 };

// `count` values at `data`, of any alignment.
struct FloatSpan {
    const void* data;
    std::size_t count;
    FloatType type;
};

struct MutableFloatSpan {
    void* data;
    std::size_t count;
    FloatType type;
};

// ---- ranges ---------------------------------------------------------------------------------------------------------------
struct ValueRange {
    float min;     // a zero is +0, whatever its sign was
    float max;
    bool finite;   // false: there is a NaN or an infinity, and min and max are not to be used
};

// {0, 0, true} for no values.
ValueRange value_range(FloatSpan x);
// The range that is sent instead of a finite min < max so that 0 is a level of the n-bit quantizer, and decodes to +0: min and max
// themselves where that range would not be of float32. Every value in [min, max] lies in it. bits: 2..16.
ValueRange zero_level_range(const ValueRange& range, unsigned bits);

// ---- n-bit min-max quantizer --------------------------------------------------------------------------------------------
// q = rint((x - min) / (max - min) * (2^bits - 1)). Needs finite min < max (else std::invalid_argument) and every x in [min, max],
// which is not checked: another x gives some symbol below 2^bits. bits: 1..8 for bytes, 1..16 for words. out.size() is x.count.
void quantize(FloatSpan x, float min, float max, unsigned bits, std::span<std::uint8_t> out);
void quantize(FloatSpan x, float min, float max, unsigned bits, std::span<std::uint16_t> out);

// x^ = float32(min + q * ((max - min) / (2^bits - 1))), for half types rounded once more, beyond their range to their largest value.
// Needs finite min <= max and symbols below 2^bits; another symbol gives some value, but reads and writes nothing outside the spans.
void dequantize(std::span<const std::uint8_t> symbols, float min, float max, unsigned bits, MutableFloatSpan out);
void dequantize(std::span<const std::uint16_t> symbols, float min, float max, unsigned bits, MutableFloatSpan out);

// ---- fixed-step quantizer -------------------------------------------------------------------------------------------------
// q = rint(x / step), saturated to int16 (NaN: to 32767). Returns how many values were outside int16: the caller raises.
// Needs a finite step > 0. out.size() is x.count.
std::size_t quantize_step(FloatSpan x, float step, std::span<std::int16_t> out);
// x^ = float32(q * step), for half types as in dequantize.
void dequantize_step(std::span<const std::int16_t> symbols, float step, MutableFloatSpan out);

// 0, -1, 1, -2, ... <-> 0, 1, 2, 3, ...
void zigzag(std::span<const std::int16_t> values, std::span<std::uint16_t> out);
void unzigzag(std::span<const std::uint16_t> values, std::span<std::int16_t> out);

}  // namespace featcodec
