// Context coder, AVX-512 BW: contexts of 64 symbols at a time, encoding of 16 lanes a vector, decoding of 32.
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
#include "context_gradient512.inc"

// Transposes 16 x 16 bytes in each quarter, in four rounds of interleaving row i with row i + 8.
inline void transpose_quarters(__m512i* rows) {
    __m512i other[16];
#pragma GCC unroll 4
    for (unsigned round = 0; round < 4; ++round) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < 8; ++i) {
            other[2 * i] = _mm512_unpacklo_epi8(rows[i], rows[i + 8]);
            other[2 * i + 1] = _mm512_unpackhi_epi8(rows[i], rows[i + 8]);
        }
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; ++i) rows[i] = other[i];
    }
}

// Lanes lie far apart in the target, often in one set of the cache: whole cache lines, and few lanes at a time.
void collect(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* target) {
    constexpr std::size_t kLine = 64;
    const std::size_t whole = lanes < 16 ? 0 : positions / kLine * kLine;
    for (unsigned lane = 0; whole > 0 && lane < lanes; lane += 16) {
        for (std::size_t p = 0; p < whole; p += kLine) {
            __m512i rows[16];
            const auto load = [&](std::size_t position) {
                return _mm_loadu_si128(reinterpret_cast<const __m128i*>(plane + (p + position) * lanes + lane));
            };
#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; ++i) {
                __m512i row = _mm512_castsi128_si512(load(i));
                row = _mm512_inserti32x4(row, load(16 + i), 1);
                row = _mm512_inserti32x4(row, load(32 + i), 2);
                rows[i] = _mm512_inserti32x4(row, load(48 + i), 3);
            }
            transpose_quarters(rows);
#pragma GCC unroll 16
            for (unsigned i = 0; i < 16; ++i) _mm512_storeu_si512(target + offset[lane + i] + p, rows[i]);
        }
    }
    if (whole < positions) context_collect_avx2(plane + whole * lanes, offset, lanes, positions - whole, target + whole);
}

struct Bytes {
    __m512i left, up, before, after;  // before, after: the upper corners
};

inline __m512i contexts_of(const Bytes& b, bool narrow) {
    if (narrow) {
        const __m512i corners = _mm512_min_epu8(_mm512_add_epi8(b.before, b.after), _mm512_set1_epi8(3));
        // Tokens are below 4 here: shifting words moves nothing across bytes.
        return _mm512_add_epi8(_mm512_add_epi8(_mm512_slli_epi16(b.up, 4), _mm512_slli_epi16(b.left, 2)), corners);
    }
    const __m512i apart = _mm512_sub_epi8(_mm512_max_epu8(b.left, b.up), _mm512_min_epu8(b.left, b.up));
    const __m512i sum = _mm512_add_epi8(b.left, b.up);
    return _mm512_mask_add_epi8(sum, _mm512_cmpgt_epu8_mask(apart, _mm512_set1_epi8(1)), sum, _mm512_set1_epi8(32));
}

inline void store_indices(__m512i contexts, __m512i tokens, __mmask64 valid, std::uint16_t* to) {
    const auto half = [](__m256i c, __m256i t) { return _mm512_or_si512(_mm512_slli_epi16(_mm512_cvtepu8_epi16(c), 4), _mm512_cvtepu8_epi16(t)); };
    const __m512i a = half(_mm512_castsi512_si256(contexts), _mm512_castsi512_si256(tokens));
    const __m512i b = half(_mm512_extracti64x4_epi64(contexts, 1), _mm512_extracti64x4_epi64(tokens, 1));
    _mm512_mask_storeu_epi16(to, static_cast<__mmask32>(valid), a);
    _mm512_mask_storeu_epi16(to + 32, static_cast<__mmask32>(valid >> 32), b);
}

// `number` tokens from `at`, all of columns alike in which neighbours they have; `top` repeats with the lanes.
inline void index_run(const RowPart& part, std::size_t at, std::size_t number, bool has_left, bool has_right, std::uint64_t top, bool narrow,
                      std::uint16_t* indices) {
    const std::size_t lanes = part.lanes;
    for (std::size_t i = at; i < at + number; i += 64) {
        const std::size_t left_over = at + number - i;
        const __mmask64 valid = left_over >= 64 ? ~__mmask64{0} : (__mmask64{1} << left_over) - 1;
        const auto load = [&](const std::uint8_t* p) { return _mm512_maskz_loadu_epi8(valid, p); };
        const __m512i tokens = load(part.tokens + i);
        Bytes b;
        b.up = _mm512_maskz_mov_epi8(~top, load(part.above + i));
        b.left = has_left ? load(part.tokens + i - lanes) : b.up;
        b.up = _mm512_mask_mov_epi8(b.up, top, b.left);
        b.before = narrow && has_left ? _mm512_mask_mov_epi8(load(part.above + i - lanes), top, b.up) : b.up;
        b.after = narrow && has_right ? _mm512_mask_mov_epi8(load(part.above + i + lanes), top, b.up) : b.up;
        store_indices(contexts_of(b, narrow), tokens, valid, indices + i);
    }
}

void index(const RowPart& part, bool narrow, std::uint16_t* indices) {
    const std::size_t lanes = part.lanes;
    std::uint64_t top = part.top;
    for (std::size_t have = lanes; have < 64; have *= 2) top |= top << have;
    const std::size_t first = part.has_left ? 0 : 1;                              // columns with a left neighbour
    const std::size_t last = narrow && !part.has_right ? part.columns - 1 : part.columns;  // and a right one, where that matters
    if (first == 1) index_run(part, 0, lanes, false, part.columns > 1 || part.has_right, top, narrow, indices);
    if (last > first) index_run(part, first * lanes, (last - first) * lanes, true, true, top, narrow, indices);
    if (last < part.columns && last >= first) index_run(part, last * lanes, lanes, true, false, top, narrow, indices);
}

// A row as one run of bytes. What a store leaves past its run is written again later. No vector as argument: gcc 12 would leave out
// vzeroupper, and SSE behind it is dear.
template <unsigned Lanes>
void predict_lanes(const RowPart& part, std::uint64_t top, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    const __m512i most = _mm512_set1_epi8(static_cast<char>((1u << bits) - 1));
    const std::size_t size = part.columns * Lanes;
    const std::uint64_t first = Lanes == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (Lanes % 64)) - 1;
    const std::size_t last = size - Lanes;
    __m512i error_before = _mm512_setzero_si512();  // of 64 bytes before
    if (part.has_left) error_before = load64(part.tokens - 64 + part.errors);
    for (std::size_t at = 0; at < size; at += 64) {
        const std::uint64_t no_left = part.has_left || at > 0 ? 0 : first;
        const std::uint64_t no_right = part.has_right || last >= at + 64 ? 0 : ~std::uint64_t{0} << (last - at);
        const __m512i symbol = load64(part.tokens + at);
        const Slopes512 slopes = slopes512(part, at, top, most, load64(part.tokens + at - Lanes), no_left, no_right);
        const __m512i error = difference512(symbol, slopes.predicted);
        __m512i left_error = error_before;
        if constexpr (Lanes < 64) left_error = _mm512_alignr_epi32(error, error_before, 16 - Lanes / 4);
        const __m512i up_error = _mm512_maskz_mov_epi8(~top, load64(part.above + at + part.errors));
        _mm512_storeu_si512(contexts + at, contexts512(slopes, up_error, left_error));
        _mm512_storeu_si512(residuals + at, residual512(symbol, error, slopes));
        _mm512_storeu_si512(part.tokens + at + part.errors, error);
        error_before = error;
    }
}

void predict(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    std::uint64_t top = part.top;
    for (std::size_t have = part.lanes; have < 64; have *= 2) top |= top << have;
    switch (part.lanes) {
        case 64: return predict_lanes<64>(part, top, bits, contexts, residuals);
        case 32: return predict_lanes<32>(part, top, bits, contexts, residuals);
        case 16: return predict_lanes<16>(part, top, bits, contexts, residuals);
        case 8: return predict_lanes<8>(part, top, bits, contexts, residuals);
        case 4: return predict_lanes<4>(part, top, bits, contexts, residuals);
        default: return context_predict_avx2(part, bits, contexts, residuals);
    }
}

// x / f by a reciprocal: 14 bits of it, doubled by a step of Newton's that is aimed low, by 3 * 2^-23: more than all roundings
// come to. The quotient, below 2^20, is then the right one or one less, and the remainder tells.
inline __m512i encode_states(__m512i x, __m512i frequency, __m512i start) {
    // The reciprocal does not wait for x.
    const __m512 divisor = _mm512_cvtepi32_ps(frequency);
    const __m512 rough = _mm512_rcp14_ps(divisor);
    const __m512 reciprocal = _mm512_mul_ps(rough, _mm512_fnmadd_ps(divisor, rough, _mm512_set1_ps(2.0f - 3.0f / (1 << 23))));
    const __m512i quotient = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_cvtepu32_ps(x), reciprocal));
    const __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, frequency));
    // x' = quotient * 2^12 + rest + start; a quotient one more moves f between the two.
    const __m512i step = _mm512_sub_epi32(_mm512_set1_epi32(1 << kFrequencyBits), frequency);
    const __m512i next = _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(quotient, kFrequencyBits), start), rest);
    return _mm512_mask_add_epi32(next, _mm512_cmpge_epu32_mask(rest, frequency), next, step);
}

// Frequencies and starts are gathered some columns ahead: among the arithmetic a gather costs four times what it does alone.
constexpr std::size_t kGathered = 1024;  // symbols

inline void gather_entries(const ContextModel& model, const std::uint16_t* indices, std::size_t number, std::uint32_t* entries) {
    for (std::size_t i = 0; i < number; i += 16) {
        const auto there = static_cast<__mmask16>(number - i >= 16 ? 0xFFFF : (1u << (number - i)) - 1);
        const __m512i places = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, indices + i));
        _mm512_store_si512(entries + i, _mm512_mask_i32gather_epi32(_mm512_set1_epi32(1), there, places, model.code.data(), 4));
    }
}

template <unsigned Vectors>
void encode_lanes(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, std::size_t lanes, std::uint64_t active,
                  LaneStates& states) {
    constexpr unsigned kVectors = Vectors;
    const std::size_t block_columns = kGathered / lanes;
    alignas(64) std::uint32_t entries[kGathered + 16];  // with fewer than 16 lanes a vector reaches past its column
    __m512i x[kVectors];
    for (unsigned v = 0; v < kVectors; ++v) x[v] = _mm512_load_si512(&states.state[16 * v]);
    std::uint8_t* front = states.front;
    while (columns > 0) {
        const std::size_t block = columns < block_columns ? columns : block_columns;
        columns -= block;
        gather_entries(model, indices + columns * lanes, block * lanes, entries);
        for (std::size_t column = block; column-- > 0;) {
#pragma GCC unroll 4
            for (unsigned i = 0; i < kVectors; ++i) {
                const unsigned v = kVectors - 1 - i;
                const auto mine = static_cast<__mmask16>(active >> (16 * v));
                const __m512i entry = _mm512_loadu_si512(entries + column * lanes + 16 * v);
                const __m512i frequency = _mm512_and_si512(entry, _mm512_set1_epi32(0xFFFF));
                const __mmask16 full = _mm512_mask_cmpge_epu32_mask(mine, _mm512_srli_epi32(x[v], 32 - kFrequencyBits), frequency);
                const auto number = static_cast<unsigned>(__builtin_popcount(full));
                front -= 2 * number;
                const __m256i out = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x[v]));
                _mm256_mask_storeu_epi16(front, static_cast<__mmask16>((1u << number) - 1), out);
                const __m512i reduced = _mm512_mask_srli_epi32(x[v], full, x[v], 16);
                x[v] = _mm512_mask_mov_epi32(x[v], mine, encode_states(reduced, frequency, _mm512_srli_epi32(entry, 16)));
            }
        }
    }
    for (unsigned v = 0; v < kVectors; ++v) _mm512_store_si512(&states.state[16 * v], x[v]);
    states.front = front;
}

void encode(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes, std::uint64_t active,
            LaneStates& states) {
    if (lanes == 64) return encode_lanes<4>(model, indices, columns, 64, active, states);
    if (lanes == 32) return encode_lanes<2>(model, indices, columns, 32, active, states);
    if (lanes >= 4) return encode_lanes<1>(model, indices, columns, lanes, active, states);
    context_encode_scalar(model, indices, columns, lanes, active, states);
}

}  // namespace

void context_index_avx512(const RowPart& part, bool narrow, std::uint16_t* indices) { index(part, narrow, indices); }
void context_collect_avx512(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions,
                            std::uint8_t* target) {
    collect(plane, offset, lanes, positions, target);
}
void context_predict_avx512(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    predict(part, bits, contexts, residuals);
}
void context_encode_avx512(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes,
                           std::uint64_t active, LaneStates& states) {
    encode(model, indices, columns, lanes, active, states);
}

const ContextKernels kContextAvx512 = {context_split_avx2, context_join_avx2, context_deal_avx2, collect,
                                       index, predict, context_pair_avx2, context_count_scalar, encode, decode};

}  // namespace featcodec
