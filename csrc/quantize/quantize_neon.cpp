// The quantizers in 16-byte vectors (NEON of AArch64, nothing optional). T, e, "near" (a tie): quantize_kernels.hpp. A vector of T
// has the symbol in the high word of each of its 4 lanes. Sums of products are fused only where the source says vfma.
#if defined(FEATCODEC_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quantize_kernels.hpp"

namespace featcodec {
namespace {

inline const std::uint8_t* bytes_at(const void* x, std::size_t offset) { return static_cast<const std::uint8_t*>(x) + offset; }
inline std::uint8_t* bytes_at(void* x, std::size_t offset) { return static_cast<std::uint8_t*>(x) + offset; }
// By bytes: at any alignment.
inline uint8x16_t load(const void* x) { return vld1q_u8(static_cast<const std::uint8_t*>(x)); }
inline void store(void* out, uint8x16_t v) { vst1q_u8(static_cast<std::uint8_t*>(out), v); }

#include "quantize_neon_floats.inc"

// ---- ranges ----------------------------------------------------------------------------------------------------------------------
struct Patterns32 {
    using Word = std::uint32_t;
    using Vector = uint32x4_t;
    using SignedVector = int32x4_t;
    static Vector load(const void* x) { return vreinterpretq_u32_u8(vld1q_u8(static_cast<const std::uint8_t*>(x))); }
    static SignedVector as_signed(Vector v) { return vreinterpretq_s32_u32(v); }
    static SignedVector smax(SignedVector a, SignedVector b) { return vmaxq_s32(a, b); }
    static Vector umax(Vector a, Vector b) { return vmaxq_u32(a, b); }
    static Vector umin(Vector a, Vector b) { return vminq_u32(a, b); }
    static BitExtremes across(SignedVector s, Vector u, Vector m) { return {vmaxvq_s32(s), vmaxvq_u32(u), vminvq_u32(m)}; }
};

struct Patterns16 {
    using Word = std::uint16_t;
    using Vector = uint16x8_t;
    using SignedVector = int16x8_t;
    static Vector load(const void* x) { return vreinterpretq_u16_u8(vld1q_u8(static_cast<const std::uint8_t*>(x))); }
    static SignedVector as_signed(Vector v) { return vreinterpretq_s16_u16(v); }
    static SignedVector smax(SignedVector a, SignedVector b) { return vmaxq_s16(a, b); }
    static Vector umax(Vector a, Vector b) { return vmaxq_u16(a, b); }
    static Vector umin(Vector a, Vector b) { return vminq_u16(a, b); }
    static BitExtremes across(SignedVector s, Vector u, Vector m) { return {vmaxvq_s16(s), vmaxvq_u16(u), vminvq_u16(m)}; }
};

template <class Patterns>
void extremes(const void* x, std::size_t count, BitExtremes& result) {
    using Word = typename Patterns::Word;
    const std::size_t bytes = count * sizeof(Word);
    if (bytes < 16) {
        // Few values: repeat the first one.
        Word words[16 / sizeof(Word)];
        for (Word& word : words) std::memcpy(&word, x, sizeof word);
        std::memcpy(words, x, bytes);
        return extremes<Patterns>(words, 16 / sizeof(Word), result);
    }
    typename Patterns::Vector u0 = Patterns::load(x);
    typename Patterns::Vector u1 = u0;
    typename Patterns::Vector m0 = u0;
    typename Patterns::Vector m1 = u0;
    typename Patterns::SignedVector s0 = Patterns::as_signed(u0);
    typename Patterns::SignedVector s1 = s0;
    const auto include = [&](std::size_t first, std::size_t second) {
        const auto a = Patterns::load(bytes_at(x, first));
        const auto b = Patterns::load(bytes_at(x, second));
        s0 = Patterns::smax(s0, Patterns::as_signed(a));
        s1 = Patterns::smax(s1, Patterns::as_signed(b));
        u0 = Patterns::umax(u0, a);
        u1 = Patterns::umax(u1, b);
        m0 = Patterns::umin(m0, a);
        m1 = Patterns::umin(m1, b);
    };
    std::size_t i = 0;
    for (; i + 32 <= bytes; i += 32) include(i, i + 16);
    // The last 32 bytes or what there is, some of them for the second time.
    const std::size_t last = bytes - 16;
    include(last < i ? last : i, last);
    result = Patterns::across(Patterns::smax(s0, s1), Patterns::umax(u0, u1), Patterns::umin(m0, m1));
}

// ---- min-max quantizer: vectors of T ---------------------------------------------------------------------------------------------
inline float64x2_t low_doubles(float32x4_t x) { return vcvt_f64_f32(vget_low_f32(x)); }
inline float64x2_t high_doubles(float32x4_t x) { return vcvt_high_f64_f32(x); }

// Low and high dwords of 4 doubles, in order.
inline uint32x4_t low_dwords(float64x2_t a, float64x2_t b) { return vuzp1q_u32(vreinterpretq_u32_f64(a), vreinterpretq_u32_f64(b)); }
inline uint32x4_t high_dwords(float64x2_t a, float64x2_t b) { return vuzp2q_u32(vreinterpretq_u32_f64(a), vreinterpretq_u32_f64(b)); }

// Whether one of the doubles' fractions (low dwords) is near a tie.
inline bool near_tie(float64x2_t a, float64x2_t b) { return vminvq_u32(low_dwords(a, b)) <= 2; }

// By the formula; T without a fraction.
inline uint32x4_t exact_quantize(float32x4_t x, const QuantizePlan& plan) {
    const float64x2_t min = vdupq_n_f64(plan.min);
    const float64x2_t range = vdupq_n_f64(plan.range);
    const float64x2_t levels = vdupq_n_f64(plan.levels);
    const float64x2_t whole = vdupq_n_f64(0x1.8p52);  // leaves no room for a fraction
    const float64x2_t a = vmulq_f64(vdivq_f64(vsubq_f64(low_doubles(x), min), range), levels);
    const float64x2_t b = vmulq_f64(vdivq_f64(vsubq_f64(high_doubles(x), min), range), levels);
    return vshlq_n_u32(low_dwords(vaddq_f64(a, whole), vaddq_f64(b, whole)), 16);
}

constexpr int kVectors = 8;  // of T at a time

struct FloatTier {
    explicit FloatTier(const QuantizePlan& plan)
        : min(vdupq_n_f32(plan.min32)), scale(vdupq_n_f32(plan.scale32)), bias(vdupq_n_f32(plan.bias32)) {}

    inline void estimate(const float32x4_t* x, uint32x4_t* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) t[v] = vcvtnq_u32_f32(vfmaq_f32(bias, vsubq_f32(x[v], min), scale));
        uint16x8_t least = fractions(t[0], t[1]);
        for (int v = 2; v < kVectors; v += 2) least = vminq_u16(least, fractions(t[v], t[v + 1]));
        if (vminvq_u16(least) > plan.doubt) [[likely]] return;
        for (int v = 0; v < kVectors; ++v) {
            if (vminvq_u16(fractions(t[v], t[v])) <= plan.doubt) t[v] = exact_quantize(x[v], plan);
        }
    }

    static uint16x8_t fractions(uint32x4_t a, uint32x4_t b) { return vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)); }

    float32x4_t min;
    float32x4_t scale;
    float32x4_t bias;
};

struct DoubleTier {
    explicit DoubleTier(const QuantizePlan& plan)
        : min(vdupq_n_f64(plan.min)), reciprocal(vdupq_n_f64(plan.reciprocal)), bias(vdupq_n_f64(0x1.8p20 + 0.5 + 0x1p-32)) {}

    // One rounding less than the proof allows.
    inline float64x2_t fixed_point(float64x2_t x) const { return vfmaq_f64(bias, vsubq_f64(x, min), reciprocal); }

    inline void estimate(const float32x4_t* x, uint32x4_t* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) {
            const float64x2_t a = fixed_point(low_doubles(x[v]));
            const float64x2_t b = fixed_point(high_doubles(x[v]));
            t[v] = near_tie(a, b) ? exact_quantize(x[v], plan) : vshlq_n_u32(high_dwords(a, b), 16);
        }
    }

    float64x2_t min;
    float64x2_t reciprocal;
    float64x2_t bias;
};

// ---- min-max quantizer: loops -----------------------------------------------------------------------------------------------
inline uint16x8_t symbols_of(uint32x4_t a, uint32x4_t b) { return vuzp2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)); }

// Symbols of the vectors of T in order, none above `top`.
inline void store_symbols(std::uint8_t* out, const uint32x4_t* t, std::uint16_t top) {
    const uint8x16_t most = vdupq_n_u8(static_cast<std::uint8_t>(top));
    for (int v = 0; v < kVectors; v += 4) {
        const uint8x16_t first = vreinterpretq_u8_u16(symbols_of(t[v], t[v + 1]));
        const uint8x16_t second = vreinterpretq_u8_u16(symbols_of(t[v + 2], t[v + 3]));
        vst1q_u8(out + 4 * v, vminq_u8(vuzp1q_u8(first, second), most));
    }
}

inline void store_symbols(std::uint16_t* out, const uint32x4_t* t, std::uint16_t top) {
    for (int v = 0; v < kVectors; v += 2) vst1q_u16(out + 4 * v, vminq_u16(symbols_of(t[v], t[v + 1]), vdupq_n_u16(top)));
}

template <class Float, class Symbol, class Tier>
inline void quantize32(const Tier& tier, const void* x, const QuantizePlan& plan, Symbol* out) {
    float32x4_t v[kVectors];
    uint32x4_t t[kVectors];
    for (std::size_t j = 0; j < kVectors; j += 2) {
        const Eight eight = Float::load8(bytes_at(x, 4 * j * Float::kSize));
        v[j] = eight.low;
        v[j + 1] = eight.high;
    }
    tier.estimate(v, t, plan);
    store_symbols(out, t, plan.top);
}

template <class Float, class Symbol, class Tier>
inline void quantize_loop(const void* x, std::size_t count, const QuantizePlan& plan, Symbol* out) {
    const Tier tier(plan);
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) quantize32<Float>(tier, bytes_at(x, i * Float::kSize), plan, out + i);
    if (i == count) return;
    if (count >= 32) {  // the last 32, some of them for the second time
        quantize32<Float>(tier, bytes_at(x, (count - 32) * Float::kSize), plan, out + count - 32);
        return;
    }
    // Few values: repeat the first one.
    std::uint8_t values[32 * Float::kSize];
    Symbol symbols[32];
    std::memcpy(values, x, count * Float::kSize);
    for (std::size_t j = count; j < 32; ++j) std::memcpy(values + j * Float::kSize, x, Float::kSize);
    quantize32<Float>(tier, values, plan, symbols);
    std::memcpy(out, symbols, count * sizeof(Symbol));
}

template <class Float, class Symbol>
void quantize(const void* x, std::size_t count, const QuantizePlan& plan, Symbol* out) {
    if (plan.float_tier) return quantize_loop<Float, Symbol, FloatTier>(x, count, plan, out);
    quantize_loop<Float, Symbol, DoubleTier>(x, count, plan, out);
}

// ---- dequantizer ---------------------------------------------------------------------------------------------------------------
// 8 symbols as float32, which holds them exactly.
inline Eight floats_of(uint16x8_t symbols) {
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(symbols))), vcvtq_f32_u32(vmovl_high_u16(symbols))};
}
inline Eight load_symbols(const std::uint8_t* symbols) { return floats_of(vmovl_u8(vld1_u8(symbols))); }
inline Eight load_symbols(const std::uint16_t* symbols) { return floats_of(vld1q_u16(symbols)); }
inline Eight load_symbols(const std::int16_t* symbols) {
    const int16x8_t words = vld1q_s16(symbols);
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
}

struct Arithmetic {
    explicit Arithmetic(const DequantizePlan& plan) : min(vdupq_n_f64(plan.min)), step(vdupq_n_f64(plan.step)) {}
    inline float32x4_t half(float32x4_t symbols) const {
        const float64x2_t low = vaddq_f64(min, vmulq_f64(low_doubles(symbols), step));
        const float64x2_t high = vaddq_f64(min, vmulq_f64(high_doubles(symbols), step));
        return vcvt_high_f32_f64(vcvt_f32_f64(low), high);
    }
    inline Eight operator()(Eight symbols) const { return {half(symbols.low), half(symbols.high)}; }
    float64x2_t min;
    float64x2_t step;
};

struct StepValue {
    inline Eight operator()(Eight symbols) const { return {vmulq_f32(symbols.low, step), vmulq_f32(symbols.high, step)}; }
    float32x4_t step;
};

template <class Float, class Symbol, class Value>
inline void dequantize_loop(const Symbol* symbols, std::size_t count, const Value value, void* out) {
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) Float::store8(bytes_at(out, i * Float::kSize), value(load_symbols(symbols + i)));
    if (i == count) return;
    Symbol last[8] = {};
    std::uint8_t values[8 * Float::kSize];
    std::memcpy(last, symbols + i, (count - i) * sizeof(Symbol));
    Float::store8(values, value(load_symbols(last)));
    std::memcpy(bytes_at(out, i * Float::kSize), values, (count - i) * Float::kSize);
}

// The values of the first symbols, in order.
template <class Float>
inline void fill_table(const Arithmetic value, std::size_t symbols, std::uint8_t* table) {
    for (std::size_t i = 0; i < symbols; i += 8) {
        std::uint8_t eight[8];
        for (std::size_t j = 0; j < 8; ++j) eight[j] = static_cast<std::uint8_t>(i + j);
        Float::store8(table + i * Float::kSize, value(load_symbols(eight)));
    }
}

// Up to 16 values in registers, a register for each byte of a value: the symbols themselves are the indices of all look-ups.
inline void lookup16(const uint8x16x4_t& planes, uint8x16_t symbols, std::uint8_t* out) {
    const uint8x16x4_t bytes = {{vqtbl1q_u8(planes.val[0], symbols), vqtbl1q_u8(planes.val[1], symbols),
                                 vqtbl1q_u8(planes.val[2], symbols), vqtbl1q_u8(planes.val[3], symbols)}};
    vst4q_u8(out, bytes);
}

inline void lookup16(const uint8x16x2_t& planes, uint8x16_t symbols, std::uint8_t* out) {
    const uint8x16x2_t bytes = {{vqtbl1q_u8(planes.val[0], symbols), vqtbl1q_u8(planes.val[1], symbols)}};
    vst2q_u8(out, bytes);
}

template <class Float, class Planes>
inline void dequantize_by_planes(const Planes& planes, const std::uint8_t* symbols, std::size_t count, void* out) {
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) lookup16(planes, vld1q_u8(symbols + i), bytes_at(out, i * Float::kSize));
    if (i == count) return;
    std::uint8_t last[16] = {};
    std::uint8_t values[16 * Float::kSize];
    std::memcpy(last, symbols + i, count - i);
    lookup16(planes, vld1q_u8(last), values);
    std::memcpy(bytes_at(out, i * Float::kSize), values, (count - i) * Float::kSize);
}

template <class Float>
void dequantize8(const std::uint8_t* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    const Arithmetic value(plan);
    std::uint8_t table[256 * Float::kSize];
    if (plan.bits <= 4) {
        fill_table<Float>(value, 16, table);
        if constexpr (Float::kSize == 4) return dequantize_by_planes<Float>(vld4q_u8(table), symbols, count, out);
        return dequantize_by_planes<Float>(vld2q_u8(table), symbols, count, out);
    }
    if (count < 1024) return dequantize_loop<Float>(symbols, count, value, out);
    fill_table<Float>(value, 256, table);  // all of it: a symbol beyond 2^bits must not read outside
    for (std::size_t i = 0; i < count; ++i) std::memcpy(bytes_at(out, i * Float::kSize), table + symbols[i] * Float::kSize, Float::kSize);
}

template <class Float>
void dequantize16(const std::uint16_t* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    dequantize_loop<Float>(symbols, count, Arithmetic(plan), out);
}

template <class Float>
void dequantize_step(const std::int16_t* symbols, std::size_t count, float step, void* out) {
    dequantize_loop<Float>(symbols, count, StepValue{vdupq_n_f32(step)}, out);
}

// ---- step quantizer -------------------------------------------------------------------------------------------------------------
inline float64x2_t clamp_step(float64x2_t v) {  // minnm takes the number where the other operand is a NaN
    return vmaxq_f64(vminnmq_f64(v, vdupq_n_f64(40000.0)), vdupq_n_f64(-40000.0));
}

struct StepQuantizer {
    explicit StepQuantizer(float width)
        : step(vdupq_n_f64(static_cast<double>(width))), reciprocal(vdupq_n_f64(1.0 / static_cast<double>(width))),
          bias(vdupq_n_f64(0x1.8p20 + 0.5 + 0x1p-32)) {}

    // 4 symbols, maybe outside int16.
    inline int32x4_t operator()(float32x4_t x) const {
        const float64x2_t a = vaddq_f64(clamp_step(vmulq_f64(low_doubles(x), reciprocal)), bias);
        const float64x2_t b = vaddq_f64(clamp_step(vmulq_f64(high_doubles(x), reciprocal)), bias);
        if (near_tie(a, b)) [[unlikely]] return exact(x);
        return vsubq_s32(vreinterpretq_s32_u32(high_dwords(a, b)), vdupq_n_s32(0x41380000));  // the high dword of 1.5 * 2^20
    }

    inline int32x4_t exact(float32x4_t x) const {
        const float64x2_t whole = vdupq_n_f64(0x1.8p52);
        const float64x2_t a = vaddq_f64(clamp_step(vdivq_f64(low_doubles(x), step)), whole);
        const float64x2_t b = vaddq_f64(clamp_step(vdivq_f64(high_doubles(x), step)), whole);
        return vreinterpretq_s32_u32(low_dwords(a, b));
    }

    float64x2_t step;
    float64x2_t reciprocal;
    float64x2_t bias;
};

// 8 symbols, saturated; returns how many were outside.
template <class Float>
inline std::size_t step8(const StepQuantizer& quantizer, const void* x, std::int16_t* out) {
    const Eight values = Float::load8(x);
    const int32x4_t low = quantizer(values.low);
    const int32x4_t high = quantizer(values.high);
    const int16x8_t words = vqmovn_high_s32(vqmovn_s32(low), high);
    vst1q_s16(out, words);
    const uint32x4_t same_low = vceqq_s32(vmovl_s16(vget_low_s16(words)), low);
    const uint32x4_t same_high = vceqq_s32(vmovl_high_s16(words), high);
    const uint32x4_t same = vaddq_u32(same_low, same_high);  // minus one for each that is
    return static_cast<std::size_t>(8 + static_cast<std::int32_t>(vaddvq_u32(same)));
}

template <class Float>
std::size_t quantize_step(const void* x, std::size_t count, float step, std::int16_t* out) {
    const StepQuantizer quantizer(step);
    std::size_t outside = 0;
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) outside += step8<Float>(quantizer, bytes_at(x, i * Float::kSize), out + i);
    if (i == count) return outside;
    std::uint8_t values[8 * Float::kSize] = {};
    std::int16_t symbols[8];
    std::memcpy(values, bytes_at(x, i * Float::kSize), (count - i) * Float::kSize);
    outside += step8<Float>(quantizer, values, symbols);
    std::memcpy(out + i, symbols, (count - i) * sizeof(std::int16_t));
    return outside;
}

}  // namespace

const QuantizeKernels kQuantizeNeon = {
    "neon",
    extremes<Patterns32>,
    extremes<Patterns16>,
    {quantize<Float32, std::uint8_t>, quantize<Float16, std::uint8_t>, quantize<BFloat16, std::uint8_t>},
    {quantize<Float32, std::uint16_t>, quantize<Float16, std::uint16_t>, quantize<BFloat16, std::uint16_t>},
    {dequantize8<Float32>, dequantize8<Float16>, dequantize8<BFloat16>},
    {dequantize16<Float32>, dequantize16<Float16>, dequantize16<BFloat16>},
    {quantize_step<Float32>, quantize_step<Float16>, quantize_step<BFloat16>},
    {dequantize_step<Float32>, dequantize_step<Float16>, dequantize_step<BFloat16>},
    // The compiler makes vectors of the scalar ones.
    kQuantizeScalar.zigzag,
    kQuantizeScalar.unzigzag,
};

}  // namespace featcodec

#endif
