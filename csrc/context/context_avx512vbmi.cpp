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
    std::uint64_t bits = 0;
    std::size_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const std::uint64_t at = bits / 8;
        const std::uint64_t left_over = raw_size > at ? raw_size - at : 0;  // what lies behind is taken for zeros, and refused later
        const __m512i window = _mm512_maskz_loadu_epi8(left_over < 64 ? (std::uint64_t{1} << left_over) - 1 : ~std::uint64_t{0}, raw + raw_size - left_over);
        const __m512i token = load64(tokens + i);
        const RawBytes extras = raw_of_window(_mm512_shuffle_epi8(extra, token), _mm512_shuffle_epi8(mask, token), window, bits % 8);
        _mm512_storeu_si512(tokens + i, _mm512_add_epi8(_mm512_shuffle_epi8(base, token), extras.values));
        bits += extras.number;
    }
    return context_join_scalar(tokens + i, count - i, classes, raw, raw_size, bits);
}

}  // namespace

const ContextKernels kContextAvx512Vbmi = {context_split_avx2,   join,                   context_deal_avx2,     context_collect_avx512,
                                           context_index_avx512, context_predict_avx512, context_pair_avx2,     context_count_scalar,
                                           context_encode_avx512, decode};

}  // namespace featcodec
