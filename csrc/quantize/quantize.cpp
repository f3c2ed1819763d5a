// The quantizers' entry points: argument checks, the plan of a range, the floating-point environment, the choice of kernels.
#include "quantize.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "default_floats.hpp"
#include "kernels.hpp"
#include "quantize_kernels.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

// ---- checks ------------------------------------------------------------------------------------------------------------------
void require(bool condition, const char* wanted) {
    if (!condition) throw std::invalid_argument(wanted);
}

void check_bits(unsigned bits, unsigned most) {
    if (bits < 1 || bits > most) {
        throw std::invalid_argument("bits must be 1.." + std::to_string(most) + ", got " + std::to_string(bits));
    }
}

void check_sizes(std::size_t in, std::size_t out) {
    if (in == out) return;
    throw std::invalid_argument("as many symbols as values: got " + std::to_string(in) + " in, " + std::to_string(out) + " out");
}

// ---- plans, never inlined: the compiler may move arithmetic, but no call, across a change of the environment -----------------
[[gnu::noinline]] QuantizePlan quantize_plan(float min, float max, unsigned bits) {
    require(std::isfinite(min) && std::isfinite(max) && min < max, "quantize needs a finite minimum below a finite maximum");
    QuantizePlan plan{};
    plan.min = min;
    plan.range = static_cast<double>(max) - plan.min;
    plan.levels = static_cast<double>((1u << bits) - 1);
    plan.reciprocal = plan.levels / plan.range;
    plan.min32 = min;
    plan.top = static_cast<std::uint16_t>((1u << bits) - 1);
    plan.float_tier = bits <= 8 && plan.range >= 0x1p-90 && plan.range <= 0x1p100;
    if (plan.float_tier) {
        const unsigned error = bits <= 7 ? 2 : 3;  // e of quantize_kernels.hpp's proof
        plan.scale32 = static_cast<float>(plan.levels * 0x1p16 / plan.range);
        plan.bias32 = static_cast<float>(32768 + error);
        plan.doubt = static_cast<std::uint16_t>(2 * error);
    }
    return plan;
}

[[gnu::noinline]] DequantizePlan dequantize_plan(float min, float max, unsigned bits) {
    require(std::isfinite(min) && std::isfinite(max) && min <= max, "dequantize needs a finite minimum and a finite maximum not below it");
    const double low = min;
    return {low, (static_cast<double>(max) - low) / static_cast<double>((1u << bits) - 1), bits};
}

// Docs: conventions.md, "Zero is a level". With m <= 0 <= M in float32, an integer z in 0..top and s a double of k = 24 - n significant
// bits, the range is [-z s, (top - z) s].
// - Both ends, and top s, are exact in float32 where s >= 2^-126: z, top - z and top have n bits, so the products have 24.
// - It holds every x: s >= -m / z in real numbers. Were it not, the double quotient would be at most some t of k bits with t < -m / z.
//   But -m and z t are integers of at most 24 bits times powers of two, so -m, above z t, is so by more than 2^-24 of z t: the quotient
//   exceeds t by more than 2^-24 of t, and its double, within 2^-53 of it, exceeds t too. M / (top - z) likewise.
// - 0 is symbol z: (0 + z s) / (top s) is z / top within a rounding, and times top within 2^-36 of z. It decodes to +0: top s / top = s
//   exactly, and -z s + z s is +0.
[[gnu::noinline]] ValueRange zero_level(const ValueRange& range, unsigned bits) {
    require(range.finite && range.min < range.max, "a level for zero needs a finite minimum below a finite maximum");
    const double low = std::min(0.0, static_cast<double>(range.min));
    const double high = std::max(0.0, static_cast<double>(range.max));
    const auto top = static_cast<double>((1u << bits) - 1);
    const double nearest = std::nearbyint(-low / (high - low) * top);
    const double z = low == 0.0 ? 0.0 : high == 0.0 ? top : std::clamp(nearest, 1.0, top - 1.0);
    const double wanted = std::max(z > 0.0 ? -low / z : 0.0, z < top ? high / (top - z) : 0.0);
    const std::uint64_t dropped = (std::uint64_t{1} << (53 - (24 - bits))) - 1;
    const auto step = std::bit_cast<double>((std::bit_cast<std::uint64_t>(wanted) + dropped) & ~dropped);
    const double below = z * step;
    const double above = (top - z) * step;
    constexpr double kLargest = std::numeric_limits<float>::max();
    if (step < 0x1p-126 || below > kLargest || above > kLargest) return range;
    return {static_cast<float>(0.0 - below), static_cast<float>(above), true};
}

void check_step(float step) { require(std::isfinite(step) && step > 0, "step must be finite and above 0"); }

const QuantizeKernels& kernels() { return current_kernels().quantize; }

constexpr std::size_t index_of(FloatType type) { return static_cast<std::size_t>(type); }
constexpr std::size_t size_of(FloatType type) { return type == FloatType::float32 ? 4 : 2; }

const void* at(const FloatSpan& x, std::size_t i) { return static_cast<const std::uint8_t*>(x.data) + i * size_of(x.type); }
void* at(const MutableFloatSpan& x, std::size_t i) { return static_cast<std::uint8_t*>(x.data) + i * size_of(x.type); }

constexpr std::size_t kPart = std::size_t{1} << 15;   // values that threads take at a time, to look at or to quantise,
constexpr std::size_t kWayBack = std::size_t{1} << 17;  // and to dequantise, when they may have to wake up first

// for_parts, in the default floating-point environment.
template <class Task>
void for_float_parts(std::size_t count, std::size_t part, const Task& task) {
    for_parts(count, part, [&](std::size_t first, std::size_t some) {
        const DefaultFloats floats;
        task(first, some);
    });
}

// Last block first: value_range() has just been at the end, which is still in the cache.
constexpr std::size_t kBlock = std::size_t{1} << 15;

template <class Symbol, class Kernel>
void quantize_blocks(const FloatSpan& x, float min, float max, unsigned bits, Kernel kernel, Symbol* out) {
    const DefaultFloats floats;
    const QuantizePlan plan = quantize_plan(min, max, bits);
    for_float_parts(x.count, kPart, [&](std::size_t first, std::size_t some) {
        for (std::size_t end = some; end > 0;) {
            const std::size_t start = first + (end - 1) / kBlock * kBlock;
            kernel(at(x, start), first + end - start, plan, out + start);
            end = start - first;
        }
    });
}

template <class Symbol, class Kernel>
void dequantize_parts(std::span<const Symbol> symbols, float min, float max, unsigned bits, Kernel kernel, MutableFloatSpan out) {
    const DefaultFloats floats;
    const DequantizePlan plan = dequantize_plan(min, max, bits);
    for_float_parts(symbols.size(), kWayBack, [&](std::size_t first, std::size_t some) { kernel(symbols.data() + first, some, plan, at(out, first)); });
}

// Bit pattern of a float type to float32, exactly.
[[gnu::noinline]] float widen(std::uint32_t bits, FloatType type) {
    if (type == FloatType::float32) return std::bit_cast<float>(bits);
    if (type == FloatType::bfloat16) return std::bit_cast<float>(bits << 16);
    const float magnitude = std::bit_cast<float>((bits & 0x7FFFu) << 13) * 0x1p112f;
    return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
}

// What an exponent of all ones starts at, and the sign bit.
constexpr std::uint32_t infinity_of(FloatType type) {
    return type == FloatType::float32 ? 0x7F800000u : type == FloatType::float16 ? 0x7C00u : 0x7F80u;
}
constexpr std::uint32_t sign_of(FloatType type) { return type == FloatType::float32 ? 0x80000000u : 0x8000u; }

}  // namespace

ValueRange value_range(FloatSpan x) {
    if (x.count == 0) return {0.0f, 0.0f, true};
    const DefaultFloats floats;
    const auto extremes = x.type == FloatType::float32 ? kernels().extremes32 : kernels().extremes16;
    BitExtremes bits{INT32_MIN, 0, UINT32_MAX};
    std::mutex guard;
    for_float_parts(x.count, kPart, [&](std::size_t first, std::size_t some) {
        BitExtremes own{};
        extremes(at(x, first), some, own);
        const std::lock_guard<std::mutex> lock(guard);
        bits = {std::max(bits.smax, own.smax), std::max(bits.umax, own.umax), std::min(bits.umin, own.umin)};
    });
    const std::uint32_t sign = sign_of(x.type);
    const bool some_negative = (bits.umax & sign) != 0;
    const bool some_positive = bits.smax >= 0;  // sign bit clear: +0 as well
    // Among negative patterns the largest magnitude is the largest number, as unsigned.
    const std::uint32_t low = some_negative ? bits.umax : bits.umin;
    const std::uint32_t high = some_positive ? static_cast<std::uint32_t>(bits.smax) : bits.umin;
    if ((low & ~sign) >= infinity_of(x.type) || (high & ~sign) >= infinity_of(x.type)) return {0.0f, 0.0f, false};
    return {widen(low, x.type) + 0.0f, widen(high, x.type) + 0.0f, true};  // -0 + 0 is +0
}

ValueRange zero_level_range(const ValueRange& range, unsigned bits) {
    check_bits(bits, 16);
    require(bits >= 2, "a level for zero needs at least 2 bits");
    const DefaultFloats floats;
    return zero_level(range, bits);
}

void quantize(FloatSpan x, float min, float max, unsigned bits, std::span<std::uint8_t> out) {
    check_bits(bits, 8);
    check_sizes(x.count, out.size());
    quantize_blocks(x, min, max, bits, kernels().quantize8[index_of(x.type)], out.data());
}

void quantize(FloatSpan x, float min, float max, unsigned bits, std::span<std::uint16_t> out) {
    check_bits(bits, 16);
    check_sizes(x.count, out.size());
    quantize_blocks(x, min, max, bits, kernels().quantize16[index_of(x.type)], out.data());
}

void dequantize(std::span<const std::uint8_t> symbols, float min, float max, unsigned bits, MutableFloatSpan out) {
    check_bits(bits, 8);
    check_sizes(symbols.size(), out.count);
    dequantize_parts(symbols, min, max, bits, kernels().dequantize8[index_of(out.type)], out);
}

void dequantize(std::span<const std::uint16_t> symbols, float min, float max, unsigned bits, MutableFloatSpan out) {
    check_bits(bits, 16);
    check_sizes(symbols.size(), out.count);
    dequantize_parts(symbols, min, max, bits, kernels().dequantize16[index_of(out.type)], out);
}

std::size_t quantize_step(FloatSpan x, float step, std::span<std::int16_t> out) {
    check_step(step);
    check_sizes(x.count, out.size());
    const auto kernel = kernels().quantize_step[index_of(x.type)];
    std::atomic<std::size_t> outside{0};
    for_float_parts(x.count, kPart, [&](std::size_t first, std::size_t some) { outside += kernel(at(x, first), some, step, out.data() + first); });
    return outside;
}

void dequantize_step(std::span<const std::int16_t> symbols, float step, MutableFloatSpan out) {
    check_step(step);
    check_sizes(symbols.size(), out.count);
    const auto kernel = kernels().dequantize_step[index_of(out.type)];
    for_float_parts(out.count, kWayBack, [&](std::size_t first, std::size_t some) { kernel(symbols.data() + first, some, step, at(out, first)); });
}

void zigzag(std::span<const std::int16_t> values, std::span<std::uint16_t> out) {
    check_sizes(values.size(), out.size());
    const auto kernel = kernels().zigzag;
    for_parts(values.size(), kPart, [&](std::size_t first, std::size_t some) { kernel(values.data() + first, some, out.data() + first); });
}

void unzigzag(std::span<const std::uint16_t> values, std::span<std::int16_t> out) {
    check_sizes(values.size(), out.size());
    const auto kernel = kernels().unzigzag;
    for_parts(values.size(), kPart, [&](std::size_t first, std::size_t some) { kernel(values.data() + first, some, out.data() + first); });
}

}  // namespace featcodec
