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

    static __m512i look_up(const __m512i* table, __m512i symbols, __mmask64 upper) {
        const __m512i below = _mm512_permutex2var_epi8(table[0], symbols, table[1]);
        return _mm512_mask_mov_epi8(below, upper, _mm512_permutex2var_epi8(table[2], symbols, table[3]));
    }
};

// The codes of 64 symbols, joined by fours: at most 44 bits each, at the top of 64, and how many.
struct Fours {
    alignas(64) std::uint64_t bits[16];
    alignas(64) std::uint64_t lengths[16];
};

inline void join_bytes(const CodeTables& tables, __m512i symbols, Fours& fours) {
    const __mmask64 upper = _mm512_movepi8_mask(symbols);
    const __m512i low = CodeTables::look_up(tables.low, symbols, upper);
    const __m512i high = CodeTables::look_up(tables.high, symbols, upper);
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
    const __m512i even_lengths = _mm512_and_si512(four_lengths, low_word);
    const __m512i odd_lengths = _mm512_srli_epi64(four_lengths, 32);
    const __m512i width = _mm512_set1_epi64(64);
    _mm512_store_si512(fours.bits, _mm512_sllv_epi64(even, _mm512_sub_epi64(width, even_lengths)));
    _mm512_store_si512(fours.bits + 8, _mm512_sllv_epi64(odd, _mm512_sub_epi64(width, odd_lengths)));
    _mm512_store_si512(fours.lengths, even_lengths);
    _mm512_store_si512(fours.lengths + 8, odd_lengths);
}

inline void put_joined(EncodeLane& lane, std::uint64_t bits, std::uint64_t length) {
    lane.bits |= bits >> lane.filled;
    const std::uint64_t filled = lane.filled + length;
    store_be64(lane.out, lane.bits);
    lane.out += filled >> 3;
    lane.bits <<= filled & 56;
    lane.filled = filled & 7;
}

// 64 bytes of each lane at a time; the rest as the portable loop does.
void huffman_encode_vbmi(const HuffmanCode& code, const std::uint8_t* const* in, const std::size_t* sizes, std::uint8_t* const* out,
                         std::size_t* written) {
    const CodeTables tables(code);
    EncodeLane lanes[kHuffmanLanes];
    std::size_t common = sizes[0];
    for (unsigned n = 0; n < kHuffmanLanes; ++n) {
        lanes[n] = {in[n], out[n], 0, 0};
        common = sizes[n] < common ? sizes[n] : common;
    }
    EncodeLane a = lanes[0];
    EncodeLane b = lanes[1];
    EncodeLane c = lanes[2];
    Fours fours[kHuffmanLanes];
    for (std::size_t i = 0; i + 64 <= common; i += 64) {
        for (unsigned n = 0; n < kHuffmanLanes; ++n) join_bytes(tables, _mm512_loadu_si512(in[n] + i), fours[n]);
        for (unsigned k = 0; k < 16; ++k) {
            const unsigned at = (k >> 1) + (k & 1) * 8;
            put_joined(a, fours[0].bits[at], fours[0].lengths[at]);
            put_joined(b, fours[1].bits[at], fours[1].lengths[at]);
            put_joined(c, fours[2].bits[at], fours[2].lengths[at]);
        }
    }
    lanes[0] = a;
    lanes[1] = b;
    lanes[2] = c;
    for (unsigned n = 0; n < kHuffmanLanes; ++n) {
        lanes[n].in = in[n] + common / 64 * 64;
        written[n] = finish_lane(lanes[n], code, in[n] + sizes[n], out[n]);
    }
}

#include "rans8_loops.inc"
#include "rans8_avx512.inc"

constexpr Order0Kernels kKernels = {"avx512vbmi",        histogram,      pack,        unpack,      huffman_table,   huffman_encode_vbmi,
                                    huffman_decode_avx2, rans_slots,     rans_encode, rans_decode, rans_needs_slots,
                                    find_bytes_avx2};

}  // namespace

const Order0Kernels& order0_avx512vbmi() noexcept { return kKernels; }

}  // namespace featcodec
