// Context coder, AVX-512 with VBMI2: the decoder with byte permutes and word expands, and raw bits of 64 symbols at a time; the rest is
// the AVX-512 set's.
// gcc 12 takes the "undefined" operands inside its own intrinsics for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "context_internal.hpp"

namespace featcodec {
namespace {

#include "context_decode_avx512.inc"

// Bytes of a class table by token, in every quarter.
template <class Value>
__m512i class_bytes(unsigned count, Value value) {
    alignas(16) std::uint8_t bytes[16] = {};
    for (unsigned t = 0; t < count; ++t) bytes[t] = static_cast<std::uint8_t>(value(t));
    return in_quarters(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
}

std::uint64_t join(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw, std::size_t raw_size) {
    const __m512i base = class_bytes(classes.count, [&](unsigned t) { return classes.base[t]; });
    const __m512i extra = class_bytes(classes.count, [&](unsigned t) { return classes.extra[t]; });
    const __m512i mask = class_bytes(classes.count, [&](unsigned t) { return (1u << classes.extra[t]) - 1; });
    const __m512i tops = _mm512_set1_epi64(0x3F372F271F170F07);  // the last byte of every eight
    const __m512i below = _mm512_setr_epi64(0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFF, 0xFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF);
    const __m512i spread = in_quarters(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8));
    std::uint64_t bits = 0;
    std::size_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const std::uint64_t at = bits / 8;
        const std::uint64_t left_over = raw_size > at ? raw_size - at : 0;  // what lies behind is taken for zeros, and refused later
        const __m512i window = _mm512_maskz_loadu_epi8(left_over < 64 ? (std::uint64_t{1} << left_over) - 1 : ~std::uint64_t{0}, raw + raw_size - left_over);
        const __m512i token = load64(tokens + i);
        // Where each symbol's bits begin: among its eight by sums of bytes, then the eights before it, of 48 bits at most.
        const __m512i wanted = _mm512_shuffle_epi8(extra, token);
        __m512i sums = _mm512_add_epi8(wanted, _mm512_slli_epi64(wanted, 8));
        sums = _mm512_add_epi8(sums, _mm512_slli_epi64(sums, 16));
        sums = _mm512_add_epi8(sums, _mm512_slli_epi64(sums, 32));
        const __m512i eights = _mm512_permutexvar_epi8(tops, sums);
        const __m512i first = _mm512_sad_epu8(_mm512_and_si512(eights, below), _mm512_setzero_si512());
        const __m512i bit = _mm512_add_epi64(first, _mm512_set1_epi64(static_cast<long long>(bits % 8)));
        const __m512i byte = _mm512_add_epi8(_mm512_shuffle_epi8(_mm512_srli_epi64(bit, 3), spread), _mm512_set1_epi64(0x0706050403020100));
        const __m512i within = _mm512_and_si512(_mm512_shuffle_epi8(bit, spread), _mm512_set1_epi8(7));
        const __m512i from = _mm512_add_epi8(within, _mm512_sub_epi8(sums, wanted));
        const __m512i value = _mm512_multishift_epi64_epi8(from, _mm512_permutexvar_epi8(byte, window));
        const __m512i symbol = _mm512_add_epi8(_mm512_shuffle_epi8(base, token), _mm512_and_si512(value, _mm512_shuffle_epi8(mask, token)));
        _mm512_storeu_si512(tokens + i, symbol);
        bits += static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_sad_epu8(_mm512_castsi512_si128(eights), _mm_setzero_si128())));
    }
    return context_join_scalar(tokens + i, count - i, classes, raw, raw_size, bits);
}

}  // namespace

const ContextKernels kContextAvx512Vbmi = {context_split_avx2,   join,                   context_deal_avx2,     context_collect_avx512,
                                           context_index_avx512, context_predict_avx512, context_pair_avx2,     context_count_scalar,
                                           context_encode_avx512, decode};

}  // namespace featcodec
