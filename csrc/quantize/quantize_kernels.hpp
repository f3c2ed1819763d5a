// The ISA-dependent operations of the quantizers, as function pointers: one table per level, the same results from each.
// Plain structs and declarations only: an ISA file that included an inline function could leave its body to the linker.
//
// HOW A SYMBOL IS MADE EXACTLY WITHOUT A DIVISION
//
// Wanted: rint(Y), Y = fl(fl(a / r) * S) in double, a = fl(x - m), r = fl(M - m), S = 2^n - 1. Both vector tiers compute a fixed-point
// number T = y 2^F + 2^(F-1) + e, y an estimate of Y and F the fraction bits; rint(Y) is T >> F unless Y may lie on a tie, that is
// unless (T mod 2^F) <= 2e. Such lanes (1 in 9,000 of random data at n = 8; none at x == m or x == M, whose fraction is a half) take the
// division. It is proven wherever |T - 2^F (Y + 1/2)| <= e before the bias e is added: then Y 2^F + 2^(F-1) lies in [T - 2e, T], an
// interval that contains no multiple of 2^F and no other integer part.
//
// Float tier (n <= 8, F = 16, u = 2^-24). d = fl32(x - m) = (x - m)(1 + d1): one rounding, whatever the signs. C = fl32(S 2^16 / r) =
// S 2^16 / (M - m) (1 + d2). |d1| <= u, |d2| <= u (1 + 2^-27). So d C is within 2.001 u S 2^16 = 2.001 S / 256 of 2^16 Y (Y's own
// error, 4 roundings of 2^-53, is in the .001). T < 2^24, where an ulp is at most 1. Below 2^23 the product, the sum and the
// conversion round by at most 1/4 + 1/4 + 1/2; from 2^23 on by 1/2 + 1/2 + 0 (a product below 2^23 less); a fused multiply-add does
// with less. Together at most 2.001 S / 256 + 1: 1.993 for n <= 7, 2.994 for n = 8; e = 2 and 3 covers them.
// It needs d and C normal: with 2^-90 <= r <= 2^100, C is in [2^-84, 2^114]; where d or the product is subnormal, d is exact (a
// difference of floats is a multiple of 2^-149) and the product's error of 2^-150 is nothing. Other ranges take the double tier.
//
// Double tier (any n <= 16 and any float32 range, F = 32, e = 1). R = fl(S / r); y = fl(a R) and Y differ by 2 roundings each, so by at
// most 4.01 * 2^-53 * 65535 < 2^-34.9: 0.13 units of 2^-32. All of it is normal: a is 0 or in [2^-149, 2^129], r as well, S / r in
// [2^-129, 2^165], a / r >= 2^-278. Adding 1.5 * 2^20 + 1/2 + e 2^-32 leaves T in the low 52 bits, rounded by at most 1/2 unit.
// Together 0.63.
//
// The step quantizer is the double tier with R = fl(1 / step), Y = fl(x / step), both clamped to +-40000 (3 roundings: < 2^-36).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu.hpp"

namespace featcodec {

inline constexpr std::size_t kFloatTypes = 3;  // float32, float16, bfloat16: the order of FloatType

// Extremes of the bit patterns of sign-magnitude numbers: enough for minimum, maximum and the largest magnitude, and cheaper than
// comparing floats and looking for NaN. 16-bit patterns are in the low half, smax sign-extended.
struct BitExtremes {
    std::int32_t smax;   // largest as two's complement
    std::uint32_t umax;  // largest and smallest as unsigned
    std::uint32_t umin;
};

struct QuantizePlan {
    double min;            // m
    double range;          // r
    double levels;         // S
    double reciprocal;     // R
    float min32;           // m
    float scale32;         // C
    float bias32;          // 2^15 + e
    std::uint16_t doubt;   // 2 e
    std::uint16_t top;     // S: no symbol is above it
    bool float_tier;       // proven for this range and n
};

struct DequantizePlan {
    double min;
    double step;           // (M - m) / (2^n - 1)
    unsigned bits;
};

struct QuantizeKernels {
    const char* name;
    // count >= 1
    void (*extremes32)(const void* x, std::size_t count, BitExtremes& extremes);
    void (*extremes16)(const void* x, std::size_t count, BitExtremes& extremes);
    // Arrays are indexed by FloatType. uint8_t symbols need at most 8 bits.
    void (*quantize8[kFloatTypes])(const void* x, std::size_t count, const QuantizePlan& plan, std::uint8_t* out);
    void (*quantize16[kFloatTypes])(const void* x, std::size_t count, const QuantizePlan& plan, std::uint16_t* out);
    void (*dequantize8[kFloatTypes])(const std::uint8_t* symbols, std::size_t count, const DequantizePlan& plan, void* out);
    void (*dequantize16[kFloatTypes])(const std::uint16_t* symbols, std::size_t count, const DequantizePlan& plan, void* out);
    std::size_t (*quantize_step[kFloatTypes])(const void* x, std::size_t count, float step, std::int16_t* out);
    void (*dequantize_step[kFloatTypes])(const std::int16_t* symbols, std::size_t count, float step, void* out);
    void (*zigzag)(const std::int16_t* values, std::size_t count, std::uint16_t* out);
    void (*unzigzag)(const std::uint16_t* values, std::size_t count, std::int16_t* out);
};

// They expect the default floating-point environment.
extern const QuantizeKernels kQuantizeScalar, kQuantizeAvx2, kQuantizeAvx512, kQuantizeNeon;

}  // namespace featcodec
