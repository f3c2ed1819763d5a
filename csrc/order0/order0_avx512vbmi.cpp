// The avx512vbmi level of the order-0 kernels: the portable loops with BMI2 shifts, and packing in 32-byte steps.
// gcc 12 takes the undefined pass-through operands of its own intrinsics for uninitialised variables (gcc bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstring>

#include "order0_isa.hpp"
#include "order0_kernels.hpp"

namespace featcodec {
namespace {

#include "histogram8_pack8_loops.inc"

#include "order0_avx512.inc"
#include "huffman8_loops.inc"
// ---- Huffman encoding with the code table in eight registers ---------------------------------------------------------------

struct CodeTables {
    __m512i low[4];   // the low 8 bits of each byte's code
    __m512i high[4];  // its length | the code's high 3 bits << 4

    explicit CodeTables(const HuffmanCode& code) {
        for (unsigned i = 0; i < 4; ++i) {
            low[i] = _mm512_loadu_si512(code.code_low + 64 * i);
            high[i] = _mm512_loadu_si512(code.code_high + 64 * i);
        }
    }

    // 0 outside `mask`, which holds `upper`.
    static __m512i look_up(const __m512i* table, __m512i symbols, __mmask64 upper, __mmask64 mask) {
        const __m512i below = _mm512_maskz_permutex2var_epi8(mask, table[0], symbols, table[1]);
        return _mm512_mask_mov_epi8(below, upper, _mm512_permutex2var_epi8(table[2], symbols, table[3]));
    }
};

// The codes of 64 symbols, joined by fours in the low 44 bits at most: the even ones, the odd ones, and how many bits each.
struct Fours {
    __m512i even, odd, even_lengths, odd_lengths;
};

// Of the symbols in `mask`; the others, which are 0, take no bits.
inline Fours join_bytes(const CodeTables& tables, __m512i symbols, __mmask64 mask) {
    const __mmask64 upper = _mm512_movepi8_mask(symbols);
    const __m512i low = CodeTables::look_up(tables.low, symbols, upper, mask);
    const __m512i high = CodeTables::look_up(tables.high, symbols, upper, mask);
    const __m512i lengths = _mm512_and_si512(high, _mm512_set1_epi8(15));
    const __m512i tops = _mm512_and_si512(_mm512_srli_epi16(high, 4), _mm512_set1_epi8(7));
    const __m512i even_bytes = _mm512_set1_epi16(255);

    // By twos in 16 + 16 bits: first code << second length | second code.
    const __m512i first = _mm512_or_si512(_mm512_and_si512(low, even_bytes), _mm512_slli_epi16(tops, 8));
    const __m512i second = _mm512_or_si512(_mm512_srli_epi16(low, 8), _mm512_andnot_si512(even_bytes, tops));
    const __m512i second_length = _mm512_srli_epi16(lengths, 8);
    const __m512i two_lengths = _mm512_maddubs_epi16(lengths, _mm512_set1_epi8(1));

    // Even and odd twos widen to 32 bits apart: a two takes up to 22 bits.
    const __m512i low_half = _mm512_set1_epi32(0xFFFF);
    const __m512i two0 = _mm512_or_si512(_mm512_sllv_epi32(_mm512_and_si512(first, low_half), _mm512_and_si512(second_length, low_half)),
                                         _mm512_and_si512(second, low_half));
    const __m512i two1 = _mm512_or_si512(_mm512_sllv_epi32(_mm512_srli_epi32(first, 16), _mm512_srli_epi32(second_length, 16)),
                                         _mm512_srli_epi32(second, 16));
    const __m512i length1 = _mm512_srli_epi32(two_lengths, 16);
    const __m512i four_lengths = _mm512_madd_epi16(two_lengths, _mm512_set1_epi16(1));

    // Even and odd fours widen to 64 bits apart.
    const __m512i low_word = _mm512_set1_epi64(0xFFFFFFFF);
    const __m512i even = _mm512_or_si512(_mm512_sllv_epi64(_mm512_and_si512(two0, low_word), _mm512_and_si512(length1, low_word)),
                                         _mm512_and_si512(two1, low_word));
    const __m512i odd = _mm512_or_si512(_mm512_sllv_epi64(_mm512_srli_epi64(two0, 32), _mm512_srli_epi64(length1, 32)),
                                        _mm512_srli_epi64(two1, 32));
    return {even, odd, _mm512_and_si512(four_lengths, low_word), _mm512_srli_epi64(four_lengths, 32)};
}

// What is put at a time, at the top of 64 bits, and its length: 8 eights, or 16 fours.
struct Joined {
    alignas(64) std::uint64_t bits[16];
    alignas(64) std::uint64_t lengths[16];
};

inline void store_at_top(__m512i bits, __m512i lengths, Joined& joined, unsigned at) {
    _mm512_store_si512(joined.bits + at, _mm512_sllv_epi64(bits, _mm512_sub_epi64(_mm512_set1_epi64(64), lengths)));
    _mm512_store_si512(joined.lengths + at, lengths);
}

// Eights where all of them fit into what a put takes; returns how many there are to put.
inline unsigned join_fours(const Fours* fours, Joined* joined) {
    __m512i lengths[kHuffmanLanes];
    __mmask8 too_long = 0;
    for (unsigned n = 0; n < kHuffmanLanes; ++n) {
        lengths[n] = _mm512_add_epi64(fours[n].even_lengths, fours[n].odd_lengths);
        too_long |= _mm512_cmpgt_epi64_mask(lengths[n], _mm512_set1_epi64(56));
    }
    for (unsigned n = 0; n < kHuffmanLanes; ++n) {
        const Fours& f = fours[n];
        if (too_long == 0) {
            store_at_top(_mm512_or_si512(_mm512_sllv_epi64(f.even, f.odd_lengths), f.odd), lengths[n], joined[n], 0);
        } else {  // in the order of the symbols: even and odd ones in turn
            const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            const __m512i high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
            store_at_top(_mm512_permutex2var_epi64(f.even, low, f.odd),
                         _mm512_permutex2var_epi64(f.even_lengths, low, f.odd_lengths), joined[n], 0);
            store_at_top(_mm512_permutex2var_epi64(f.even, high, f.odd),
                         _mm512_permutex2var_epi64(f.even_lengths, high, f.odd_lengths), joined[n], 8);
        }
    }
    return too_long == 0 ? 8 : 16;
}

// At most 56 bits.
inline void put_joined(EncodeLane& lane, std::uint64_t bits, std::uint64_t length) {
    lane.bits |= bits >> lane.filled;
    const std::uint64_t filled = lane.filled + length;
    store_be64(lane.out, lane.bits);
    lane.out += filled >> 3;
    lane.bits <<= filled & 56;
    lane.filled = filled & 7;
}

// 64 bytes of each lane at a time.
void huffman_encode_vbmi(const HuffmanCode& code, const std::uint8_t* const* in, const std::size_t* sizes, std::uint8_t* const* out,
                         std::size_t* written) {
    if (sizes[1] == 0) return huffman_encode_avx2(code, in, sizes, out, written);  // one lane does not pay for the tables
    const CodeTables tables(code);
    EncodeLane a{in[0], out[0], 0, 0};
    EncodeLane b{in[1], out[1], 0, 0};
    EncodeLane c{in[2], out[2], 0, 0};
    std::size_t longest = sizes[0];
    for (unsigned n = 1; n < kHuffmanLanes; ++n) longest = sizes[n] > longest ? sizes[n] : longest;
    Fours fours[kHuffmanLanes];
    Joined joined[kHuffmanLanes];
    for (std::size_t i = 0; i < longest; i += 64) {
        for (unsigned n = 0; n < kHuffmanLanes; ++n) {
            const __mmask64 mask = first_lanes64(sizes[n] > i ? sizes[n] - i : 0);
            fours[n] = join_bytes(tables, _mm512_maskz_loadu_epi8(mask, in[n] + i), mask);
        }
        const unsigned puts = join_fours(fours, joined);
        for (unsigned k = 0; k < puts; ++k) {
            put_joined(a, joined[0].bits[k], joined[0].lengths[k]);
            put_joined(b, joined[1].bits[k], joined[1].lengths[k]);
            put_joined(c, joined[2].bits[k], joined[2].lengths[k]);
        }
    }
    const EncodeLane lanes[kHuffmanLanes] = {a, b, c};
    for (unsigned n = 0; n < kHuffmanLanes; ++n) {  // the last put has stored the bits of a byte begun
        written[n] = static_cast<std::size_t>(lanes[n].out - out[n]) + (lanes[n].filled > 0 ? 1 : 0);
    }
}

#include "rans8_loops.inc"
#include "rans8_avx512.inc"

}  // namespace

const Order0Kernels kOrder0Avx512Vbmi = {"avx512vbmi",        histogram,      pack,        unpack,      huffman_table,   huffman_encode_vbmi,
                                    huffman_decode_avx2, rans_slots,     rans_encode, rans_decode, rans_needs_slots,
                                    find_bytes_avx2};

}  // namespace featcodec
