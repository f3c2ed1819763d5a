// The quantizers in 32-byte vectors (AVX2 and F16C, no fused multiply-add).
// T, e, "near" (a tie): quantize_kernels.hpp. A vector of T has the symbol in the high word of each of its 8 lanes.
#if defined(FEATCODEC_X86)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quantize_kernels.hpp"

namespace featcodec {
namespace {

inline const std::uint8_t* bytes_at(const void* x, std::size_t offset) { return static_cast<const std::uint8_t*>(x) + offset; }
inline std::uint8_t* bytes_at(void* x, std::size_t offset) { return static_cast<std::uint8_t*>(x) + offset; }
inline __m256i load256(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }
inline __m128i load128(const void* x) { return _mm_loadu_si128(static_cast<const __m128i*>(x)); }

// ---- the float types: 8 values as float32, and back ---------------------------------------------------------------------------
struct Float32 {
    static constexpr std::size_t kIndex = 0;  // as FloatType
    static constexpr std::size_t kSize = 4;
    static __m256 load(const void* x) { return _mm256_castsi256_ps(load256(x)); }
    static void store(void* out, __m256 v) { _mm256_storeu_si256(static_cast<__m256i*>(out), _mm256_castps_si256(v)); }
};

struct Float16 {
    static constexpr std::size_t kIndex = 1;  // as FloatType
    static constexpr std::size_t kSize = 2;
    static __m256 load(const void* x) { return _mm256_cvtph_ps(load128(x)); }
    static void store(void* out, __m256 v) {
        v = _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(65504.0f)), _mm256_set1_ps(-65504.0f));
        _mm_storeu_si128(static_cast<__m128i*>(out), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
};

struct BFloat16 {
    static constexpr std::size_t kIndex = 2;  // as FloatType
    static constexpr std::size_t kSize = 2;
    static __m256 load(const void* x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(x)), 16)); }
    static void store(void* out, __m256 v) {
        const __m256 largest = _mm256_set1_ps(0x1.FEp127f);
        const __m256i bits = _mm256_castps_si256(_mm256_max_ps(_mm256_min_ps(v, largest), _mm256_sub_ps(_mm256_setzero_ps(), largest)));
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i words = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7FFF)), 16);
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
        _mm_storeu_si128(static_cast<__m128i*>(out), _mm256_castsi256_si128(packed));
    }
};

// ---- ranges ----------------------------------------------------------------------------------------------------------------------
struct Patterns32 {
    using Word = std::uint32_t;
    using Signed = std::int32_t;
    static __m256i smax(__m256i a, __m256i b) { return _mm256_max_epi32(a, b); }
    static __m256i umax(__m256i a, __m256i b) { return _mm256_max_epu32(a, b); }
    static __m256i umin(__m256i a, __m256i b) { return _mm256_min_epu32(a, b); }
};

struct Patterns16 {
    using Word = std::uint16_t;
    using Signed = std::int16_t;
    static __m256i smax(__m256i a, __m256i b) { return _mm256_max_epi16(a, b); }
    static __m256i umax(__m256i a, __m256i b) { return _mm256_max_epu16(a, b); }
    static __m256i umin(__m256i a, __m256i b) { return _mm256_min_epu16(a, b); }
};

template <class Patterns>
inline void include(const void* words, std::size_t count, BitExtremes& result) {
    using Word = typename Patterns::Word;
    for (std::size_t i = 0; i < count; ++i) {
        Word word;
        std::memcpy(&word, bytes_at(words, i * sizeof word), sizeof word);
        const std::int32_t as_signed = static_cast<typename Patterns::Signed>(word);
        if (as_signed > result.smax) result.smax = as_signed;
        if (word > result.umax) result.umax = word;
        if (word < result.umin) result.umin = word;
    }
}

template <class Patterns>
void extremes(const void* x, std::size_t count, BitExtremes& result) {
    using Word = typename Patterns::Word;
    const std::size_t bytes = count * sizeof(Word);
    BitExtremes all{INT32_MIN, 0, UINT32_MAX};
    if (bytes < 32) {
        include<Patterns>(x, count, all);
        result = all;
        return;
    }
    __m256i s0 = load256(x);
    __m256i s1 = s0;
    __m256i u0 = s0;
    __m256i u1 = s0;
    __m256i m0 = s0;
    __m256i m1 = s0;
    std::size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        const __m256i a = load256(bytes_at(x, i));
        const __m256i b = load256(bytes_at(x, i + 32));
        s0 = Patterns::smax(s0, a);
        s1 = Patterns::smax(s1, b);
        u0 = Patterns::umax(u0, a);
        u1 = Patterns::umax(u1, b);
        m0 = Patterns::umin(m0, a);
        m1 = Patterns::umin(m1, b);
    }
    // The last 64 bytes or what there is, some of them for the second time.
    const std::size_t last = bytes - 32;
    const std::size_t starts[2] = {last < i ? last : i, last};
    for (const std::size_t start : starts) {
        const __m256i a = load256(bytes_at(x, start));
        s0 = Patterns::smax(s0, a);
        u0 = Patterns::umax(u0, a);
        m0 = Patterns::umin(m0, a);
    }
    Word words[3][32 / sizeof(Word)];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[0]), Patterns::smax(s0, s1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[1]), Patterns::umax(u0, u1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words[2]), Patterns::umin(m0, m1));
    // Each of the three vectors holds values of x: all may be offered to all.
    include<Patterns>(words, 3 * 32 / sizeof(Word), all);
    result = all;
}

// ---- min-max quantizer: one vector of T -----------------------------------------------------------------------------------------
inline __m256d low_doubles(__m256 x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
inline __m256d high_doubles(__m256 x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }

// High (1) or low (0) dwords of 8 doubles, in order.
template <int kHigh>
inline __m256i dwords_of(__m256d a, __m256d b) {
    const __m256 mixed = _mm256_shuffle_ps(_mm256_castpd_ps(a), _mm256_castpd_ps(b), kHigh != 0 ? 0xDD : 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xD8);
}

// By the formula; T without a fraction.
inline __m256i exact_quantize(__m256 x, const QuantizePlan& plan) {
    const __m256d min = _mm256_set1_pd(plan.min);
    const __m256d range = _mm256_set1_pd(plan.range);
    const __m256d levels = _mm256_set1_pd(plan.levels);
    const __m256d whole = _mm256_set1_pd(0x1.8p52);  // leaves no room for a fraction
    const __m256d a = _mm256_mul_pd(_mm256_div_pd(_mm256_sub_pd(low_doubles(x), min), range), levels);
    const __m256d b = _mm256_mul_pd(_mm256_div_pd(_mm256_sub_pd(high_doubles(x), min), range), levels);
    return _mm256_slli_epi32(dwords_of<0>(_mm256_add_pd(a, whole), _mm256_add_pd(b, whole)), 16);
}

// Whether a lane of one of the doubles' fractions (low dwords) is near a tie.
inline bool near_tie(__m256d a, __m256d b) {
    const __m256i least = _mm256_min_epu32(_mm256_castpd_si256(a), _mm256_castpd_si256(b));
    const __m256i near = _mm256_cmpeq_epi32(_mm256_min_epu32(least, _mm256_set1_epi32(2)), least);
    return (_mm256_movemask_ps(_mm256_castsi256_ps(near)) & 0x55) != 0;
}

struct FloatTier {
    explicit FloatTier(const QuantizePlan& plan)
        : min(_mm256_set1_ps(plan.min32)), scale(_mm256_set1_ps(plan.scale32)), bias(_mm256_set1_ps(plan.bias32)),
          doubt(_mm256_set1_epi16(static_cast<short>(plan.doubt))) {}

    inline bool near(__m256i t) const {
        const __m256i low = _mm256_cmpeq_epi16(_mm256_subs_epu16(t, doubt), _mm256_setzero_si256());
        return (_mm256_movemask_epi8(low) & 0x33333333) != 0;  // the even words
    }

    template <int kVectors>
    inline void estimate(const __m256* x, __m256i* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) {
            t[v] = _mm256_cvtps_epi32(_mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(x[v], min), scale), bias));
        }
        __m256i least = t[0];  // its even words: the least fraction
        for (int v = 1; v < kVectors; ++v) least = _mm256_min_epu16(least, t[v]);
        if (!near(least)) [[likely]] return;
        for (int v = 0; v < kVectors; ++v) {
            if (near(t[v])) t[v] = exact_quantize(x[v], plan);
        }
    }

    __m256 min;
    __m256 scale;
    __m256 bias;
    __m256i doubt;
};

struct DoubleTier {
    explicit DoubleTier(const QuantizePlan& plan)
        : min(_mm256_set1_pd(plan.min)), reciprocal(_mm256_set1_pd(plan.reciprocal)), bias(_mm256_set1_pd(0x1.8p20 + 0.5 + 0x1p-32)) {}

    inline __m256d fixed_point(__m256d x) const { return _mm256_add_pd(_mm256_mul_pd(_mm256_sub_pd(x, min), reciprocal), bias); }

    template <int kVectors>
    inline void estimate(const __m256* x, __m256i* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) {
            const __m256d a = fixed_point(low_doubles(x[v]));
            const __m256d b = fixed_point(high_doubles(x[v]));
            t[v] = near_tie(a, b) ? exact_quantize(x[v], plan) : _mm256_slli_epi32(dwords_of<1>(a, b), 16);
        }
    }

    __m256d min;
    __m256d reciprocal;
    __m256d bias;
};

// ---- min-max quantizer: loops -----------------------------------------------------------------------------------------------
// Symbols of two vectors of T as words a0 b0 a1 b1 ...
inline __m256i interleave_words(__m256i a, __m256i b) { return _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xAA); }

// Symbols of four vectors of T in order, none above `top`.
inline void store_symbols(std::uint8_t* out, const __m256i* t, unsigned top) {
    // In each 16-byte lane a0 b0 a1 b1 a2 b2 a3 b3 c0 d0 c1 d1 c2 d2 c3 d3.
    const __m256i mixed = _mm256_packus_epi16(interleave_words(t[0], t[1]), interleave_words(t[2], t[3]));
    const __m256i by_vector =
        _mm256_broadcastsi128_si256(_mm_set_epi32(0x0F0D0B09, 0x0E0C0A08, 0x07050301, 0x06040200));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(mixed, by_vector), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_min_epu8(bytes, _mm256_set1_epi8(static_cast<char>(top))));
}

inline __m256i pack_words(__m256i a, __m256i b, unsigned top) {
    const __m256i by_vector = _mm256_broadcastsi128_si256(_mm_set_epi32(0x0F0E0B0A, 0x07060302, 0x0D0C0908, 0x05040100));
    const __m256i words = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(interleave_words(a, b), by_vector), 0xD8);
    return _mm256_min_epu16(words, _mm256_set1_epi16(static_cast<short>(top)));
}

inline void store_symbols(std::uint16_t* out, const __m256i* t, unsigned top) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), pack_words(t[0], t[1], top));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 16), pack_words(t[2], t[3], top));
}

template <class Float, class Symbol, class Tier>
inline void quantize32(const Tier& tier, const void* x, const QuantizePlan& plan, Symbol* out) {
    __m256 v[4];
    __m256i t[4];
    for (std::size_t j = 0; j < 4; ++j) v[j] = Float::load(bytes_at(x, 8 * j * Float::kSize));
    tier.template estimate<4>(v, t, plan);
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
inline __m256i load_symbols(const std::uint8_t* symbols) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(symbols)));
}
inline __m256i load_symbols(const std::uint16_t* symbols) { return _mm256_cvtepu16_epi32(load128(symbols)); }
inline __m256i load_symbols(const std::int16_t* symbols) { return _mm256_cvtepi16_epi32(load128(symbols)); }

struct Arithmetic {
    explicit Arithmetic(const DequantizePlan& plan) : min(_mm256_set1_pd(plan.min)), step(_mm256_set1_pd(plan.step)) {}
    inline __m128 half(__m128i symbols) const {
        return _mm256_cvtpd_ps(_mm256_add_pd(min, _mm256_mul_pd(_mm256_cvtepi32_pd(symbols), step)));
    }
    inline __m256 operator()(__m256i symbols) const {
        return _mm256_set_m128(half(_mm256_extracti128_si256(symbols, 1)), half(_mm256_castsi256_si128(symbols)));
    }
    __m256d min;
    __m256d step;
};

// Up to 16 values in two registers.
struct Table {
    explicit Table(const DequantizePlan& plan) {
        const Arithmetic value(plan);
        const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        low = value(index);
        high = value(_mm256_add_epi32(index, _mm256_set1_epi32(8)));
    }
    inline __m256 operator()(__m256i symbols) const {
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(symbols, 28));  // bit 3 to the sign, which blendv looks at
        return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, symbols), _mm256_permutevar8x32_ps(high, symbols), upper);
    }
    __m256 low;
    __m256 high;
};

struct StepValue {
    inline __m256 operator()(__m256i symbols) const { return _mm256_mul_ps(_mm256_cvtepi32_ps(symbols), step); }
    __m256 step;
};

template <class Float, class Symbol, class Value>
inline void dequantize_loop(const Symbol* symbols, std::size_t count, const Value value, void* out) {
    std::size_t i = 0;
    if (count >= 16 && reinterpret_cast<std::uintptr_t>(out) % Float::kSize == 0) {  // no store across lines of the cache from here on:
        Float::store(out, value(load_symbols(symbols)));                             // some values are stored twice
        i = (0 - reinterpret_cast<std::uintptr_t>(out) / Float::kSize) % 8;
    }
    for (; i + 8 <= count; i += 8) Float::store(bytes_at(out, i * Float::kSize), value(load_symbols(symbols + i)));
    if (i == count) return;
    Symbol last[8] = {};
    std::uint8_t values[8 * Float::kSize];
    std::memcpy(last, symbols + i, (count - i) * sizeof(Symbol));
    Float::store(values, value(load_symbols(last)));
    std::memcpy(bytes_at(out, i * Float::kSize), values, (count - i) * Float::kSize);
}

template <class Float>
void dequantize8(const std::uint8_t* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    if (plan.bits <= 4) return dequantize_loop<Float>(symbols, count, Table(plan), out);
    // all bytes looked up in memory: faster than the conversions to double and back, once the table is paid for
    if (count >= 4096) return kQuantizeScalar.dequantize8[Float::kIndex](symbols, count, plan, out);
    dequantize_loop<Float>(symbols, count, Arithmetic(plan), out);
}

template <class Float>
void dequantize16(const std::uint16_t* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    dequantize_loop<Float>(symbols, count, Arithmetic(plan), out);
}

template <class Float>
void dequantize_step(const std::int16_t* symbols, std::size_t count, float step, void* out) {
    dequantize_loop<Float>(symbols, count, StepValue{_mm256_set1_ps(step)}, out);
}

// ---- step quantizer -------------------------------------------------------------------------------------------------------------
inline __m256d clamp_step(__m256d v) {  // NaN: the second operand of min, the upper bound
    return _mm256_max_pd(_mm256_min_pd(v, _mm256_set1_pd(40000.0)), _mm256_set1_pd(-40000.0));
}

struct StepQuantizer {
    explicit StepQuantizer(float width)
        : step(_mm256_set1_pd(width)), reciprocal(_mm256_set1_pd(1.0 / static_cast<double>(width))),
          bias(_mm256_set1_pd(0x1.8p20 + 0.5 + 0x1p-32)) {}

    // 8 symbols as int32, maybe outside int16.
    inline __m256i operator()(__m256 x) const {
        const __m256d a = _mm256_add_pd(clamp_step(_mm256_mul_pd(low_doubles(x), reciprocal)), bias);
        const __m256d b = _mm256_add_pd(clamp_step(_mm256_mul_pd(high_doubles(x), reciprocal)), bias);
        if (near_tie(a, b)) [[unlikely]] return exact(x);
        return _mm256_sub_epi32(dwords_of<1>(a, b), _mm256_set1_epi32(0x41380000));  // the high dword of 1.5 * 2^20
    }

    inline __m256i exact(__m256 x) const {
        const __m256d whole = _mm256_set1_pd(0x1.8p52);
        const __m256d a = _mm256_add_pd(clamp_step(_mm256_div_pd(low_doubles(x), step)), whole);
        const __m256d b = _mm256_add_pd(clamp_step(_mm256_div_pd(high_doubles(x), step)), whole);
        return dwords_of<0>(a, b);
    }

    __m256d step;
    __m256d reciprocal;
    __m256d bias;
};

// 8 symbols, saturated; returns how many were outside.
template <class Float>
inline std::size_t step8(const StepQuantizer& quantizer, const void* x, std::int16_t* out) {
    const __m256i q = quantizer(Float::load(x));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(q, q), 0x08);
    const __m128i words = _mm256_castsi256_si128(packed);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), words);
    const __m256i same = _mm256_cmpeq_epi32(_mm256_cvtepi16_epi32(words), q);
    return static_cast<std::size_t>(8 - __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(same)))));
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

// ---- zigzag: the compiler makes vectors of these ---------------------------------------------------------------------------
void zigzag(const std::int16_t* values, std::size_t count, std::uint16_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto sign = static_cast<std::uint16_t>(values[i] >> 15);
        out[i] = static_cast<std::uint16_t>(static_cast<std::uint16_t>(values[i]) << 1 ^ sign);
    }
}

void unzigzag(const std::uint16_t* values, std::size_t count, std::int16_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto sign = static_cast<std::uint16_t>(-(values[i] & 1));
        out[i] = static_cast<std::int16_t>((values[i] >> 1) ^ sign);
    }
}

}  // namespace

const QuantizeKernels kQuantizeAvx2 = {
    "avx2",
    extremes<Patterns32>,
    extremes<Patterns16>,
    {quantize<Float32, std::uint8_t>, quantize<Float16, std::uint8_t>, quantize<BFloat16, std::uint8_t>},
    {quantize<Float32, std::uint16_t>, quantize<Float16, std::uint16_t>, quantize<BFloat16, std::uint16_t>},
    {dequantize8<Float32>, dequantize8<Float16>, dequantize8<BFloat16>},
    {dequantize16<Float32>, dequantize16<Float16>, dequantize16<BFloat16>},
    {quantize_step<Float32>, quantize_step<Float16>, quantize_step<BFloat16>},
    {dequantize_step<Float32>, dequantize_step<Float16>, dequantize_step<BFloat16>},
    zigzag,
    unzigzag,
};

}  // namespace featcodec

#endif
