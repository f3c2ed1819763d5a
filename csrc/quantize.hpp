// The quantisers: floats to symbols and back, the same on every instruction set.
//
//   min-max:  q = rint((x - m) / (M - m) * L),  x^ = m + q * ((M - m) / L),  L = 2^bits - 1
//   step:     q = rint(x / Q), clipped to int16, x^ = q * Q
//
// Every step in IEEE double, in the order written, rounding half to even; x^ is rounded to float32 once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu.hpp"

namespace featcodec {

struct Range {
    float low = 0.0f;
    float high = 0.0f;
    bool finite = true;  // no NaN, no infinity among the values; else low and high mean nothing
};

Range minmax(std::span<const float> x) noexcept;

// low < high; symbols.size() == x.size(); every x within [low, high]. uint8: bits 1..8; uint16: bits 1..16.
void quantize(std::span<const float> x, float low, float high, unsigned bits, std::span<std::uint8_t> symbols) noexcept;
void quantize(std::span<const float> x, float low, float high, unsigned bits, std::span<std::uint16_t> symbols) noexcept;
void dequantize(std::span<const std::uint8_t> symbols, float low, float high, unsigned bits, std::span<float> x) noexcept;
void dequantize(std::span<const std::uint16_t> symbols, float low, float high, unsigned bits, std::span<float> x) noexcept;

// Returns the largest symbol. Zigzag: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...; without it negative q become 0. x must be finite.
std::uint16_t step_quantize(std::span<const float> x, double step, bool zigzag, std::span<std::uint16_t> symbols) noexcept;
void step_dequantize(std::span<const std::uint16_t> symbols, double step, bool zigzag, std::span<float> x) noexcept;

// One set per instruction set; quantize.cpp picks.
struct QuantizeKernels {
    Range (*minmax)(const float* x, std::size_t count);
    void (*quantize8)(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint8_t* symbols);
    void (*quantize16)(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint16_t* symbols);
    void (*dequantize8)(const std::uint8_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x);
    void (*dequantize16)(const std::uint16_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x);
};
extern const QuantizeKernels kQuantizeScalar;
#if defined(FEATCODEC_X86)
extern const QuantizeKernels kQuantizeAvx2;
extern const QuantizeKernels kQuantizeAvx512;
#endif

}  // namespace featcodec
