// The quantizers in 64-byte vectors. T, e, "near": quantize_kernels.hpp; a vector of T has symbols in high words.
#if defined(FEATCODEC_X86)

// gcc 12 takes the undefined pass-through operands of its own intrinsics for uninitialised variables (gcc bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quantize_kernels.hpp"

namespace featcodec {
namespace {

inline const std::uint8_t* bytes_at(const void* x, std::size_t offset) { return static_cast<const std::uint8_t*>(x) + offset; }
inline std::uint8_t* bytes_at(void* x, std::size_t offset) { return static_cast<std::uint8_t*>(x) + offset; }
inline __mmask16 first16(std::size_t count) { return count >= 16 ? __mmask16{0xFFFF} : static_cast<__mmask16>((1u << count) - 1); }
inline __mmask32 first32(std::size_t count) { return count >= 32 ? ~__mmask32{0} : (__mmask32{1} << count) - 1; }
inline __mmask64 first64(std::size_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }
inline std::size_t rest(std::size_t count, std::size_t start) { return count > start ? count - start : 0; }

// Bytes from x to the next 64-byte line, where whole values of `size` bytes lead there and `most` bytes are enough; else 0. A vector
// that straddles two lines costs two loads: NumPy's large arrays start 16 bytes into one.
inline std::size_t to_line(const void* x, std::size_t size, std::size_t most) {
    const std::size_t bytes = (64 - reinterpret_cast<std::uintptr_t>(x) % 64) % 64;
    return bytes % size == 0 && bytes <= most ? bytes : 0;
}

// ---- the float types: 16 values as float32, and back -------------------------------------------------------------------------
struct Float32 {
    static constexpr std::size_t kIndex = 0;  // as FloatType
    static constexpr std::size_t kSize = 4;
    static __m512 load(const void* x) { return _mm512_loadu_ps(x); }
    static __m512 load(const void* x, __mmask16 lanes, __m512 other) { return _mm512_mask_loadu_ps(other, lanes, x); }
    static void store(void* out, __m512 v) { _mm512_storeu_ps(out, v); }
    static void store(void* out, __mmask16 lanes, __m512 v) { _mm512_mask_storeu_ps(out, lanes, v); }
};

struct Float16 {
    static constexpr std::size_t kIndex = 1;  // as FloatType
    static constexpr std::size_t kSize = 2;
    static __m512 load(const void* x) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(x))); }
    static __m512 load(const void* x, __mmask16 lanes, __m512 other) {
        return _mm512_mask_cvtph_ps(other, lanes, _mm256_maskz_loadu_epi16(lanes, x));
    }
    static __m256i narrow(__m512 v) {
        v = _mm512_max_ps(_mm512_min_ps(v, _mm512_set1_ps(65504.0f)), _mm512_set1_ps(-65504.0f));
        return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static void store(void* out, __m512 v) { _mm256_storeu_si256(static_cast<__m256i*>(out), narrow(v)); }
    static void store(void* out, __mmask16 lanes, __m512 v) { _mm256_mask_storeu_epi16(out, lanes, narrow(v)); }
};

struct BFloat16 {
    static constexpr std::size_t kIndex = 2;  // as FloatType
    static constexpr std::size_t kSize = 2;
    static __m512 widen(__m256i words) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16)); }
    static __m512 load(const void* x) { return widen(_mm256_loadu_si256(static_cast<const __m256i*>(x))); }
    static __m512 load(const void* x, __mmask16 lanes, __m512 other) {
        return _mm512_mask_mov_ps(other, lanes, widen(_mm256_maskz_loadu_epi16(lanes, x)));
    }
    static __m256i narrow(__m512 v) {
        const __m512 largest = _mm512_set1_ps(0x1.FEp127f);
        const __m512i bits = _mm512_castps_si512(_mm512_max_ps(_mm512_min_ps(v, largest), _mm512_sub_ps(_mm512_setzero_ps(), largest)));
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7FFF)), 16));
    }
    static void store(void* out, __m512 v) { _mm256_storeu_si256(static_cast<__m256i*>(out), narrow(v)); }
    static void store(void* out, __mmask16 lanes, __m512 v) { _mm256_mask_storeu_epi16(out, lanes, narrow(v)); }
};

// ---- ranges ----------------------------------------------------------------------------------------------------------------------
struct Patterns32 {
    static __m512i smax(__m512i a, __m512i b) { return _mm512_max_epi32(a, b); }
    static __m512i umax(__m512i a, __m512i b) { return _mm512_max_epu32(a, b); }
    static __m512i umin(__m512i a, __m512i b) { return _mm512_min_epu32(a, b); }
    static __m512i first(const void* x) {
        int bits;
        std::memcpy(&bits, x, 4);
        return _mm512_set1_epi32(bits);
    }
    static __m512i tail(const void* x, std::size_t bytes, __m512i other) { return _mm512_mask_loadu_epi32(other, first16(bytes / 4), x); }
    static BitExtremes reduce(__m512i smax, __m512i umax, __m512i umin) {
        return {_mm512_reduce_max_epi32(smax), _mm512_reduce_max_epu32(umax), _mm512_reduce_min_epu32(umin)};
    }
};

struct Patterns16 {
    static __m512i smax(__m512i a, __m512i b) { return _mm512_max_epi16(a, b); }
    static __m512i umax(__m512i a, __m512i b) { return _mm512_max_epu16(a, b); }
    static __m512i umin(__m512i a, __m512i b) { return _mm512_min_epu16(a, b); }
    static __m512i first(const void* x) {
        short bits;
        std::memcpy(&bits, x, 2);
        return _mm512_set1_epi16(bits);
    }
    static __m512i tail(const void* x, std::size_t bytes, __m512i other) { return _mm512_mask_loadu_epi16(other, first32(bytes / 2), x); }
    // By way of 32 bits: both halves of each lane, extended.
    static BitExtremes reduce(__m512i smax, __m512i umax, __m512i umin) {
        const __m512i s = _mm512_max_epi32(_mm512_srai_epi32(smax, 16), _mm512_srai_epi32(_mm512_slli_epi32(smax, 16), 16));
        const __m512i low = _mm512_set1_epi32(0xFFFF);
        const __m512i most = _mm512_max_epu32(_mm512_srli_epi32(umax, 16), _mm512_and_si512(umax, low));
        const __m512i least = _mm512_min_epu32(_mm512_srli_epi32(umin, 16), _mm512_and_si512(umin, low));
        return Patterns32::reduce(s, most, least);
    }
};

template <class Patterns, std::size_t kSize>
void extremes(const void* x, std::size_t count, BitExtremes& result) {
    const std::size_t bytes = count * kSize;
    const __m512i first = Patterns::first(x);
    __m512i s0 = first;
    __m512i s1 = first;
    __m512i u0 = first;
    __m512i u1 = first;
    __m512i m0 = first;
    __m512i m1 = first;
    std::size_t i = to_line(x, kSize, bytes);
    if (i > 0) {
        const __m512i a = Patterns::tail(x, i, first);
        s0 = Patterns::smax(s0, a);
        u0 = Patterns::umax(u0, a);
        m0 = Patterns::umin(m0, a);
    }
    for (; i + 256 <= bytes; i += 256) {
        const __m512i a = _mm512_loadu_si512(bytes_at(x, i));
        const __m512i b = _mm512_loadu_si512(bytes_at(x, i + 64));
        const __m512i c = _mm512_loadu_si512(bytes_at(x, i + 128));
        const __m512i d = _mm512_loadu_si512(bytes_at(x, i + 192));
        s0 = Patterns::smax(s0, Patterns::smax(a, b));
        s1 = Patterns::smax(s1, Patterns::smax(c, d));
        u0 = Patterns::umax(u0, Patterns::umax(a, b));
        u1 = Patterns::umax(u1, Patterns::umax(c, d));
        m0 = Patterns::umin(m0, Patterns::umin(a, b));
        m1 = Patterns::umin(m1, Patterns::umin(c, d));
    }
    for (; i < bytes; i += 64) {
        const __m512i a = Patterns::tail(bytes_at(x, i), bytes - i, first);
        s0 = Patterns::smax(s0, a);
        u0 = Patterns::umax(u0, a);
        m0 = Patterns::umin(m0, a);
    }
    result = Patterns::reduce(Patterns::smax(s0, s1), Patterns::umax(u0, u1), Patterns::umin(m0, m1));
}

// ---- min-max quantizer: one vector of T -----------------------------------------------------------------------------------------
inline __m512d low_doubles(__m512 x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
inline __m512d high_doubles(__m512 x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }

// High (1) or low (0) dwords of 16 doubles, in order.
template <int kHigh>
inline __m512i dwords_of(__m512d a, __m512d b) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i index = _mm512_add_epi32(even, _mm512_set1_epi32(kHigh));
    return _mm512_permutex2var_epi32(_mm512_castpd_si512(a), index, _mm512_castpd_si512(b));
}

// By the formula; T without a fraction.
inline __m512i exact_quantize(__m512 x, const QuantizePlan& plan) {
    const __m512d min = _mm512_set1_pd(plan.min);
    const __m512d range = _mm512_set1_pd(plan.range);
    const __m512d levels = _mm512_set1_pd(plan.levels);
    const __m512d whole = _mm512_set1_pd(0x1.8p52);  // leaves no room for a fraction
    const __m512d a = _mm512_mul_pd(_mm512_div_pd(_mm512_sub_pd(low_doubles(x), min), range), levels);
    const __m512d b = _mm512_mul_pd(_mm512_div_pd(_mm512_sub_pd(high_doubles(x), min), range), levels);
    return _mm512_slli_epi32(dwords_of<0>(_mm512_add_pd(a, whole), _mm512_add_pd(b, whole)), 16);
}

// Whether a lane of one of the doubles' fractions (low dwords) is near a tie.
inline bool near_tie(__m512d a, __m512d b) {
    const __m512i least = _mm512_min_epu32(_mm512_castpd_si512(a), _mm512_castpd_si512(b));
    return _mm512_mask_cmple_epu32_mask(0x5555, least, _mm512_set1_epi32(2)) != 0;
}

struct FloatTier {
    explicit FloatTier(const QuantizePlan& plan)
        : min(_mm512_set1_ps(plan.min32)), scale(_mm512_set1_ps(plan.scale32)), bias(_mm512_set1_ps(plan.bias32)),
          doubt(_mm512_set1_epi16(static_cast<short>(plan.doubt))) {}

    template <int kVectors>
    inline void estimate(const __m512* x, __m512i* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) t[v] = _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_sub_ps(x[v], min), scale, bias));
        __m512i least = t[0];  // its even words: the least fraction
        for (int v = 1; v < kVectors; ++v) least = _mm512_min_epu16(least, t[v]);
        if (_mm512_mask_cmple_epu16_mask(0x55555555, least, doubt) == 0) [[likely]] return;
        for (int v = 0; v < kVectors; ++v) {
            if (_mm512_mask_cmple_epu16_mask(0x55555555, t[v], doubt) != 0) t[v] = exact_quantize(x[v], plan);
        }
    }

    __m512 min;
    __m512 scale;
    __m512 bias;
    __m512i doubt;
};

struct DoubleTier {
    explicit DoubleTier(const QuantizePlan& plan)
        : min(_mm512_set1_pd(plan.min)), reciprocal(_mm512_set1_pd(plan.reciprocal)), bias(_mm512_set1_pd(0x1.8p20 + 0.5 + 0x1p-32)) {}

    template <int kVectors>
    inline void estimate(const __m512* x, __m512i* t, const QuantizePlan& plan) const {
        for (int v = 0; v < kVectors; ++v) {
            const __m512d a = _mm512_fmadd_pd(_mm512_sub_pd(low_doubles(x[v]), min), reciprocal, bias);
            const __m512d b = _mm512_fmadd_pd(_mm512_sub_pd(high_doubles(x[v]), min), reciprocal, bias);
            t[v] = near_tie(a, b) ? exact_quantize(x[v], plan) : _mm512_slli_epi32(dwords_of<1>(a, b), 16);
        }
    }

    __m512d min;
    __m512d reciprocal;
    __m512d bias;
};

// ---- min-max quantizer: loops -----------------------------------------------------------------------------------------------
// Symbols of two vectors of T as words a0 b0 a1 b1 ...
inline __m512i interleave_words(__m512i a, __m512i b) { return _mm512_mask_mov_epi16(_mm512_srli_epi32(a, 16), 0xAAAAAAAA, b); }

// Symbols of four vectors of T as bytes in order, none above `top`.
inline __m512i pack_bytes(const __m512i* t, __m512i top) {
    // In each 16-byte lane a0 b0 a1 b1 a2 b2 a3 b3 c0 d0 c1 d1 c2 d2 c3 d3.
    const __m512i mixed = _mm512_packus_epi16(interleave_words(t[0], t[1]), interleave_words(t[2], t[3]));
    const __m512i sorted = _mm512_shuffle_epi8(mixed, _mm512_set4_epi32(0x0F0D0B09, 0x0E0C0A08, 0x07050301, 0x06040200));
    const __m512i bytes = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), sorted);
    return _mm512_min_epu8(bytes, top);
}

// Symbols of two vectors of T as words in order, none above `top`.
inline __m512i pack_words(const __m512i* t, __m512i top) {
    const __m512i order = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1,  //
                                           30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_min_epu16(_mm512_permutexvar_epi16(order, interleave_words(t[0], t[1])), top);
}

// The last vectors; what is missing is x == m, which is no tie.
template <class Float, int kVectors>
inline void load_tail(const void* x, std::size_t count, float other, __m512* v) {
    for (std::size_t i = 0; i < kVectors; ++i) {
        const __mmask16 lanes = first16(rest(count, 16 * i));
        v[i] = lanes == 0 ? _mm512_set1_ps(other) : Float::load(bytes_at(x, 16 * i * Float::kSize), lanes, _mm512_set1_ps(other));
    }
}

template <class Float, class Tier>
inline void quantize8_loop(const void* x, std::size_t count, const QuantizePlan& plan, std::uint8_t* out) {
    const Tier tier(plan);
    const __m512i top = _mm512_set1_epi8(static_cast<char>(plan.top));
    __m512 v[4];
    __m512i t[4];
    std::size_t i = count >= 128 ? to_line(x, Float::kSize, 63) / Float::kSize : 0;
    if (i > 0) {  // symbols after the first i are made twice
        for (std::size_t j = 0; j < 4; ++j) v[j] = Float::load(bytes_at(x, 16 * j * Float::kSize));
        tier.template estimate<4>(v, t, plan);
        _mm512_storeu_si512(out, pack_bytes(t, top));
    }
    for (; i + 64 <= count; i += 64) {
        const std::uint8_t* from = bytes_at(x, i * Float::kSize);
        for (std::size_t j = 0; j < 4; ++j) v[j] = Float::load(from + 16 * j * Float::kSize);
        tier.template estimate<4>(v, t, plan);
        _mm512_storeu_si512(out + i, pack_bytes(t, top));
    }
    if (i == count) return;
    load_tail<Float, 4>(bytes_at(x, i * Float::kSize), count - i, plan.min32, v);
    tier.template estimate<4>(v, t, plan);
    _mm512_mask_storeu_epi8(out + i, first64(count - i), pack_bytes(t, top));
}

template <class Float, class Tier>
inline void quantize16_loop(const void* x, std::size_t count, const QuantizePlan& plan, std::uint16_t* out) {
    const Tier tier(plan);
    const __m512i top = _mm512_set1_epi16(static_cast<short>(plan.top));
    __m512 v[2];
    __m512i t[2];
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const std::uint8_t* from = bytes_at(x, i * Float::kSize);
        for (std::size_t j = 0; j < 2; ++j) v[j] = Float::load(from + 16 * j * Float::kSize);
        tier.template estimate<2>(v, t, plan);
        _mm512_storeu_si512(out + i, pack_words(t, top));
    }
    if (i == count) return;
    load_tail<Float, 2>(bytes_at(x, i * Float::kSize), count - i, plan.min32, v);
    tier.template estimate<2>(v, t, plan);
    _mm512_mask_storeu_epi16(out + i, first32(count - i), pack_words(t, top));
}

template <class Float>
void quantize8(const void* x, std::size_t count, const QuantizePlan& plan, std::uint8_t* out) {
    plan.float_tier ? quantize8_loop<Float, FloatTier>(x, count, plan, out) : quantize8_loop<Float, DoubleTier>(x, count, plan, out);
}

template <class Float>
void quantize16(const void* x, std::size_t count, const QuantizePlan& plan, std::uint16_t* out) {
    plan.float_tier ? quantize16_loop<Float, FloatTier>(x, count, plan, out) : quantize16_loop<Float, DoubleTier>(x, count, plan, out);
}

// ---- dequantizer ---------------------------------------------------------------------------------------------------------------
inline __m512i load_symbols(const std::uint8_t* symbols) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(symbols)));
}
inline __m512i load_symbols(const std::uint16_t* symbols) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols)));
}
inline __m512i load_symbols(const std::int16_t* symbols) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols)));
}
inline __m512i load_symbols(const std::uint8_t* symbols, __mmask16 lanes) {
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, symbols));
}
inline __m512i load_symbols(const std::uint16_t* symbols, __mmask16 lanes) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, symbols));
}
inline __m512i load_symbols(const std::int16_t* symbols, __mmask16 lanes) {
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(lanes, symbols));
}

// In double as the formula says, product and sum rounded each: no fused multiply-add here.
struct Arithmetic {
    explicit Arithmetic(const DequantizePlan& plan) : min(_mm512_set1_pd(plan.min)), step(_mm512_set1_pd(plan.step)) {}
    inline __m256 half(__m256i symbols) const {
        return _mm512_cvtpd_ps(_mm512_add_pd(min, _mm512_mul_pd(_mm512_cvtepi32_pd(symbols), step)));
    }
    inline __m512 operator()(__m512i symbols) const {
        const __m256 low = half(_mm512_castsi512_si256(symbols));
        return _mm512_insertf32x8(_mm512_castps256_ps512(low), half(_mm512_extracti64x4_epi64(symbols, 1)), 1);
    }
    __m512d min;
    __m512d step;
};

// Up to 32 values in two registers.
struct Table {
    explicit Table(const DequantizePlan& plan) {
        const Arithmetic value(plan);
        const __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        low = value(index);
        high = value(_mm512_add_epi32(index, _mm512_set1_epi32(16)));
    }
    inline __m512 operator()(__m512i symbols) const { return _mm512_permutex2var_ps(low, symbols, high); }
    __m512 low;
    __m512 high;
};

template <class Float, class Symbol, class Value>
inline void dequantize_loop(const Symbol* symbols, std::size_t count, const Value value, void* out) {
    std::size_t i = 0;
    if (count >= 32) {  // no store across lines of the cache from here on: some values are stored twice
        Float::store(out, value(load_symbols(symbols)));
        i = to_line(out, Float::kSize, 63) / Float::kSize % 16;
    }
    for (; i + 16 <= count; i += 16) Float::store(bytes_at(out, i * Float::kSize), value(load_symbols(symbols + i)));
    const __mmask16 lanes = first16(count - i);
    if (lanes != 0) Float::store(bytes_at(out, i * Float::kSize), lanes, value(load_symbols(symbols + i, lanes)));
}

template <class Float, class Symbol>
void dequantize(const Symbol* symbols, std::size_t count, const DequantizePlan& plan, void* out) {
    if (plan.bits <= 5) return dequantize_loop<Float>(symbols, count, Table(plan), out);
    if constexpr (Float::kIndex == 2 && sizeof(Symbol) == 1) {  // a table in memory is faster than to round to bfloat16
        if (count >= 4096) return kQuantizeScalar.dequantize8[Float::kIndex](symbols, count, plan, out);
    }
    dequantize_loop<Float>(symbols, count, Arithmetic(plan), out);
}

// ---- step quantizer -------------------------------------------------------------------------------------------------------------
inline __m512d clamp_step(__m512d v) {  // NaN: the second operand of min, the upper bound
    return _mm512_max_pd(_mm512_min_pd(v, _mm512_set1_pd(40000.0)), _mm512_set1_pd(-40000.0));
}

struct StepQuantizer {
    explicit StepQuantizer(float width)
        : step(_mm512_set1_pd(width)), reciprocal(_mm512_set1_pd(1.0 / static_cast<double>(width))),
          bias(_mm512_set1_pd(0x1.8p20 + 0.5 + 0x1p-32)) {}

    // 16 symbols as int32, maybe outside int16.
    inline __m512i operator()(__m512 x) const {
        const __m512d a = _mm512_add_pd(clamp_step(_mm512_mul_pd(low_doubles(x), reciprocal)), bias);
        const __m512d b = _mm512_add_pd(clamp_step(_mm512_mul_pd(high_doubles(x), reciprocal)), bias);
        if (near_tie(a, b)) [[unlikely]] return exact(x);
        return _mm512_sub_epi32(dwords_of<1>(a, b), _mm512_set1_epi32(0x41380000));  // the high dword of 1.5 * 2^20
    }

    inline __m512i exact(__m512 x) const {
        const __m512d whole = _mm512_set1_pd(0x1.8p52);
        const __m512d a = _mm512_add_pd(clamp_step(_mm512_div_pd(low_doubles(x), step)), whole);
        const __m512d b = _mm512_add_pd(clamp_step(_mm512_div_pd(high_doubles(x), step)), whole);
        return dwords_of<0>(a, b);
    }

    __m512d step;
    __m512d reciprocal;
    __m512d bias;
};

inline std::size_t count_outside(__m512i q) {
    const __m512i shifted = _mm512_add_epi32(q, _mm512_set1_epi32(32768));
    return static_cast<std::size_t>(__builtin_popcount(_mm512_cmpgt_epu32_mask(shifted, _mm512_set1_epi32(65535))));
}

template <class Float>
std::size_t quantize_step(const void* x, std::size_t count, float step, std::int16_t* out) {
    const StepQuantizer quantizer(step);
    std::size_t outside = 0;
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m512i q = quantizer(Float::load(bytes_at(x, i * Float::kSize)));
        outside += count_outside(q);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm512_cvtsepi32_epi16(q));
    }
    const __mmask16 lanes = first16(count - i);
    if (lanes == 0) return outside;
    const __m512i q = quantizer(Float::load(bytes_at(x, i * Float::kSize), lanes, _mm512_setzero_ps()));
    _mm256_mask_storeu_epi16(out + i, lanes, _mm512_cvtsepi32_epi16(q));
    return outside + count_outside(q);
}

struct StepValue {
    inline __m512 operator()(__m512i symbols) const { return _mm512_mul_ps(_mm512_cvtepi32_ps(symbols), width); }
    __m512 width;
};

template <class Float>
void dequantize_step(const std::int16_t* symbols, std::size_t count, float step, void* out) {
    dequantize_loop<Float>(symbols, count, StepValue{_mm512_set1_ps(step)}, out);
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

const QuantizeKernels kQuantizeAvx512 = {
    "avx512",
    extremes<Patterns32, 4>,
    extremes<Patterns16, 2>,
    {quantize8<Float32>, quantize8<Float16>, quantize8<BFloat16>},
    {quantize16<Float32>, quantize16<Float16>, quantize16<BFloat16>},
    {dequantize<Float32, std::uint8_t>, dequantize<Float16, std::uint8_t>, dequantize<BFloat16, std::uint8_t>},
    {dequantize<Float32, std::uint16_t>, dequantize<Float16, std::uint16_t>, dequantize<BFloat16, std::uint16_t>},
    {quantize_step<Float32>, quantize_step<Float16>, quantize_step<BFloat16>},
    {dequantize_step<Float32>, dequantize_step<Float16>, dequantize_step<BFloat16>},
    zigzag,
    unzigzag,
};

}  // namespace featcodec

#endif
