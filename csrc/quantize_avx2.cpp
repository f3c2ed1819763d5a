// Quantisers with AVX2: the integers and floats of the scalar ones, bit for bit. The proof of the estimate: quantize_avx512.cpp.
#if defined(FEATCODEC_X86)
#include <immintrin.h>

#include "quantize.hpp"

namespace featcodec {
namespace {

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr float kSafe = 0.5f - 0x1p-13f;

Range minmax_avx2(const float* x, std::size_t count) {
    std::size_t i = 0;
    Range range{x[0], x[0], true};
    if (count >= 8) {
        __m256 low = _mm256_set1_ps(x[0]);
        __m256 high = low;
        __m256 poison = _mm256_setzero_ps();  // stays zero while all are finite: x * 0 is NaN for the others
        for (; i + 8 <= count; i += 8) {
            const __m256 v = _mm256_loadu_ps(x + i);
            low = _mm256_min_ps(low, v);
            high = _mm256_max_ps(high, v);
            poison = _mm256_or_ps(poison, _mm256_mul_ps(v, _mm256_setzero_ps()));
        }
        alignas(32) float lows[8];
        alignas(32) float highs[8];
        alignas(32) float poisons[8];
        _mm256_store_ps(lows, low);
        _mm256_store_ps(highs, high);
        _mm256_store_ps(poisons, poison);
        for (unsigned k = 0; k < 8; ++k) {
            range.low = lows[k] < range.low ? lows[k] : range.low;
            range.high = highs[k] > range.high ? highs[k] : range.high;
            range.finite = range.finite && poisons[k] == 0.0f;
        }
    }
    for (; i < count; ++i) {
        range.low = x[i] < range.low ? x[i] : range.low;
        range.high = x[i] > range.high ? x[i] : range.high;
        range.finite = range.finite && x[i] * 0.0f == 0.0f;
    }
    return range;
}

struct Exact {
    __m256d low, span, levels;
};

__m128i exact4(const Exact& k, __m128 x) {
    const __m256d t = _mm256_mul_pd(_mm256_div_pd(_mm256_sub_pd(_mm256_cvtps_pd(x), k.low), k.span), k.levels);
    return _mm256_cvtpd_epi32(_mm256_round_pd(t, kNearest));
}

__m256i exact8(const Exact& k, __m256 x) {
    return _mm256_set_m128i(exact4(k, _mm256_extractf128_ps(x, 1)), exact4(k, _mm256_castps256_ps128(x)));
}

Exact exact_of(float low, float high, unsigned bits) {
    return {_mm256_set1_pd(low), _mm256_set1_pd(static_cast<double>(high) - static_cast<double>(low)),
            _mm256_set1_pd((1u << bits) - 1)};
}

void quantize8_avx2(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint8_t* symbols) {
    const Exact exact = exact_of(low, high, bits);
    const double span = static_cast<double>(high) - static_cast<double>(low);
    const bool estimates = span >= 0x1p-100 && span <= 0x1p100;
    const __m256 m = _mm256_set1_ps(low);
    const __m256 factor = _mm256_set1_ps(estimates ? static_cast<float>(((1u << bits) - 1) / span) : 0.0f);
    const __m256 safe = _mm256_set1_ps(kSafe);
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        const __m256 e = _mm256_mul_ps(_mm256_sub_ps(v, m), factor);
        const __m256 whole = _mm256_round_ps(e, kNearest);
        const __m256 fraction = _mm256_and_ps(_mm256_sub_ps(e, whole), magnitude);
        const int near_tie = _mm256_movemask_ps(_mm256_cmp_ps(fraction, safe, _CMP_GT_OQ));
        const __m256i q = __builtin_expect(near_tie == 0 && estimates, 1) ? _mm256_cvtps_epi32(whole) : exact8(exact, v);
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(symbols + i), _mm_packus_epi16(words, words));
    }
    if (i < count) kQuantizeScalar.quantize8(x + i, count - i, low, high, bits, symbols + i);
}

void quantize16_avx2(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint16_t* symbols) {
    const Exact exact = exact_of(low, high, bits);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256i q = exact8(exact, _mm256_loadu_ps(x + i));
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + i), words);
    }
    if (i < count) kQuantizeScalar.quantize16(x + i, count - i, low, high, bits, symbols + i);
}

void store_values(__m128i q, __m256d low, __m256d step, float* x) {
    _mm_storeu_ps(x, _mm256_cvtpd_ps(_mm256_add_pd(low, _mm256_mul_pd(_mm256_cvtepi32_pd(q), step))));
}

struct Steps {
    __m256d low, step;
};

Steps steps_of(float low, float high, unsigned bits) {
    const double m = low;
    return {_mm256_set1_pd(m), _mm256_set1_pd((static_cast<double>(high) - m) / ((1u << bits) - 1))};
}

void dequantize8_avx2(const std::uint8_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x) {
    const Steps k = steps_of(low, high, bits);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(symbols + i));
        store_values(_mm_cvtepu8_epi32(bytes), k.low, k.step, x + i);
        store_values(_mm_cvtepu8_epi32(_mm_srli_si128(bytes, 4)), k.low, k.step, x + i + 4);
    }
    if (i < count) kQuantizeScalar.dequantize8(symbols + i, count - i, low, high, bits, x + i);
}

void dequantize16_avx2(const std::uint16_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x) {
    const Steps k = steps_of(low, high, bits);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(symbols + i));
        store_values(_mm_cvtepu16_epi32(words), k.low, k.step, x + i);
        store_values(_mm_cvtepu16_epi32(_mm_srli_si128(words, 8)), k.low, k.step, x + i + 4);
    }
    if (i < count) kQuantizeScalar.dequantize16(symbols + i, count - i, low, high, bits, x + i);
}

}  // namespace

const QuantizeKernels kQuantizeAvx2 = {minmax_avx2, quantize8_avx2, quantize16_avx2, dequantize8_avx2, dequantize16_avx2};

}  // namespace featcodec
#endif
