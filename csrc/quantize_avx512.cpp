// Quantisers with AVX-512 (F, BW, VL, DQ): the integers and floats of the scalar ones, bit for bit.
//
// Why the float estimate is right. For symbols of at most 8 bits let t be the double result before rounding, and
// e = fl(fl(x - m) * fl(L / span)) in float32. Each of the three roundings is within 2^-24 relative (x - m is exact where it is
// denormal; with span in [2^-100, 2^100] neither the factor nor the product's relevant range under- or overflows), so
// |e - t| <= 255 * 3.01 * 2^-24 < 2^-14, the double's own error far below. Where e lies more than 2^-14 from a half, rint(e) =
// rint(t). The few lanes nearer than 2^-13 are done again in double.
#if defined(FEATCODEC_X86)
// gcc 12 takes the "undefined" operands inside its own intrinsics for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include "quantize.hpp"

namespace featcodec {
namespace {

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr float kSafe = 0.5f - 0x1p-13f;  // a fraction up to this is no tie

__mmask16 tail_mask(std::size_t count) { return count >= 16 ? __mmask16{0xFFFF} : static_cast<__mmask16>((1u << count) - 1); }

Range minmax_avx512(const float* x, std::size_t count) {
    __m512 low = _mm512_set1_ps(x[0]);
    __m512 high = low;
    __mmask16 bad = 0;
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        low = _mm512_min_ps(low, v);
        high = _mm512_max_ps(high, v);
        bad |= _mm512_fpclass_ps_mask(v, 0x99);  // quiet NaN, both infinities, signalling NaN
    }
    if (i < count) {
        const __mmask16 left = tail_mask(count - i);
        const __m512 v = _mm512_maskz_loadu_ps(left, x + i);
        low = _mm512_mask_min_ps(low, left, low, v);
        high = _mm512_mask_max_ps(high, left, high, v);
        bad |= _mm512_mask_fpclass_ps_mask(left, v, 0x99);
    }
    return {_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), bad == 0};
}

struct Exact {
    __m512d low, span, levels;
};

Exact exact_of(float low, float high, unsigned bits) {
    return {_mm512_set1_pd(low), _mm512_set1_pd(static_cast<double>(high) - static_cast<double>(low)),
            _mm512_set1_pd((1u << bits) - 1)};
}

__m256i exact8(const Exact& k, __m256 x) {
    const __m512d t = _mm512_mul_pd(_mm512_div_pd(_mm512_sub_pd(_mm512_cvtps_pd(x), k.low), k.span), k.levels);
    return _mm512_cvt_roundpd_epi32(t, kNearest);
}

__m512i exact16(const Exact& k, __m512 x) {
    const __m256i first = exact8(k, _mm512_castps512_ps256(x));
    return _mm512_inserti32x8(_mm512_castsi256_si512(first), exact8(k, _mm512_extractf32x8_ps(x, 1)), 1);
}

void quantize8_avx512(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint8_t* symbols) {
    const Exact exact = exact_of(low, high, bits);
    const double span = static_cast<double>(high) - static_cast<double>(low);
    const bool estimates = span >= 0x1p-100 && span <= 0x1p100;
    const __m512 m = _mm512_set1_ps(low);
    const __m512 factor = _mm512_set1_ps(estimates ? static_cast<float>(((1u << bits) - 1) / span) : 0.0f);
    const __m512 safe = _mm512_set1_ps(kSafe);
    const auto sixteen = [&](__m512 v) {
        const __m512 e = _mm512_mul_ps(_mm512_sub_ps(v, m), factor);
        const __mmask16 near_tie = _mm512_cmp_ps_mask(_mm512_abs_ps(_mm512_reduce_ps(e, kNearest)), safe, _CMP_GT_OQ);
        const __m512i q = _mm512_cvt_roundps_epi32(e, kNearest);
        return __builtin_expect(near_tie == 0 && estimates, 1) ? q : exact16(exact, v);
    };
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + i), _mm512_cvtepi32_epi8(sixteen(_mm512_loadu_ps(x + i))));
    }
    if (i < count) {
        const __mmask16 left = tail_mask(count - i);
        const __m512 v = _mm512_mask_loadu_ps(m, left, x + i);
        _mm512_mask_cvtepi32_storeu_epi8(symbols + i, left, sixteen(v));
    }
}

void quantize16_avx512(const float* x, std::size_t count, float low, float high, unsigned bits, std::uint16_t* symbols) {
    const Exact exact = exact_of(low, high, bits);
    const __m512 m = _mm512_set1_ps(low);
    for (std::size_t i = 0; i < count; i += 16) {
        const __mmask16 left = tail_mask(count - i);
        const __m512i q = exact16(exact, _mm512_mask_loadu_ps(m, left, x + i));
        _mm512_mask_cvtepi32_storeu_epi16(symbols + i, left, q);
    }
}

__m512 values(__m512i q, __m512d low, __m512d step) {
    const auto half = [&](__m256i part) {
        return _mm512_cvtpd_ps(_mm512_add_pd(low, _mm512_mul_pd(_mm512_cvtepi32_pd(part), step)));
    };
    const __m256 first = half(_mm512_castsi512_si256(q));
    return _mm512_insertf32x8(_mm512_castps256_ps512(first), half(_mm512_extracti32x8_epi32(q, 1)), 1);
}

struct Steps {
    __m512d low, step;
};

Steps steps_of(float low, float high, unsigned bits) {
    const double m = low;
    return {_mm512_set1_pd(m), _mm512_set1_pd((static_cast<double>(high) - m) / ((1u << bits) - 1))};
}

void dequantize8_avx512(const std::uint8_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x) {
    const Steps k = steps_of(low, high, bits);
    if (bits <= 4) {  // sixteen values fit one register: permute instead of computing
        const __m512 table = values(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), k.low, k.step);
        for (std::size_t i = 0; i < count; i += 16) {
            const __mmask16 left = tail_mask(count - i);
            const __m512i q = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(left, symbols + i));
            _mm512_mask_storeu_ps(x + i, left, _mm512_permutexvar_ps(q, table));
        }
        return;
    }
    for (std::size_t i = 0; i < count; i += 16) {
        const __mmask16 left = tail_mask(count - i);
        const __m512i q = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(left, symbols + i));
        _mm512_mask_storeu_ps(x + i, left, values(q, k.low, k.step));
    }
}

void dequantize16_avx512(const std::uint16_t* symbols, std::size_t count, float low, float high, unsigned bits, float* x) {
    const Steps k = steps_of(low, high, bits);
    for (std::size_t i = 0; i < count; i += 16) {
        const __mmask16 left = tail_mask(count - i);
        const __m512i q = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(left, symbols + i));
        _mm512_mask_storeu_ps(x + i, left, values(q, k.low, k.step));
    }
}

}  // namespace

const QuantizeKernels kQuantizeAvx512 = {minmax_avx512, quantize8_avx512, quantize16_avx512, dequantize8_avx512, dequantize16_avx512};

}  // namespace featcodec
#endif
