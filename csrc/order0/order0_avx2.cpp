// The AVX2 level of the order-0 kernels: the portable loops with BMI2 shifts, packing in 32-byte steps, rANS by gathers.
#include <immintrin.h>

#include <cstring>

#include "order0_isa.hpp"
#include "order0_kernels.hpp"

namespace featcodec {
namespace {

#include "histogram8_pack8_loops.inc"

// 32 symbols to 4 * bits bytes (16 for bits 3), in the low bytes.
inline __m128i pack32(__m256i x, unsigned bits) {
    x = _mm256_and_si256(x, _mm256_set1_epi8(static_cast<char>((1u << bits) - 1)));
    const auto join = static_cast<short>((1u << bits) | 1u << 8);  // first symbol * 2^bits + second
    const __m256i pairs = _mm256_maddubs_epi16(x, _mm256_set1_epi16(join));
    __m256i bytes = _mm256_packus_epi16(pairs, pairs);
    if (bits <= 2) {
        const auto join_pairs = static_cast<short>((1u << (2 * bits)) | 1u << 8);
        bytes = _mm256_packus_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi16(join_pairs)), _mm256_setzero_si256());
    }
    // The halves of 16 symbols lie in the low bytes of each 128-bit half.
    const __m128i low = _mm256_castsi256_si128(bytes);
    const __m128i high = _mm256_extracti128_si256(bytes, 1);
    if (bits >= 3) return _mm_unpacklo_epi64(low, high);
    const __m128i fours = _mm_unpacklo_epi32(low, high);
    if (bits == 2) return fours;
    const __m128i eights = _mm_maddubs_epi16(fours, _mm_set1_epi16(16 | 1 << 8));
    return _mm_packus_epi16(eights, eights);
}

void pack(const std::uint8_t* symbols, std::size_t count, unsigned bits, std::uint8_t* out) {
    for (; count >= 32; count -= 32, symbols += 32) {
        const __m128i packed = pack32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols)), bits);
        if (bits >= 3) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out), packed);
            out += 16;
        } else if (bits == 2) {
            _mm_storel_epi64(reinterpret_cast<__m128i*>(out), packed);
            out += 8;
        } else {
            _mm_storeu_si32(out, packed);
            out += 4;
        }
    }
    pack_range(symbols, count, bits, out);
}

void unpack(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* symbols) {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>((1u << bits) - 1));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(bits));
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(0x0102040810204080);
    for (; count >= 32; count -= 32, symbols += 32) {
        __m256i x;
        if (bits >= 3) {
            x = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed)));
            x = _mm256_and_si256(_mm256_or_si256(_mm256_srl_epi16(x, shift), _mm256_slli_epi16(x, 8)), mask);
            packed += 16;
        } else if (bits == 2) {
            x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed)));
            const __m256i high = _mm256_or_si256(_mm256_srli_epi32(x, 6), _mm256_slli_epi32(x, 4));
            const __m256i low = _mm256_or_si256(_mm256_slli_epi32(x, 14), _mm256_slli_epi32(x, 24));
            x = _mm256_and_si256(_mm256_or_si256(high, low), mask);
            packed += 8;
        } else {
            std::int32_t four;
            std::memcpy(&four, packed, 4);
            x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(four), which), bit);
            x = _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), mask);
            packed += 4;
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols), x);
    }
    unpack_range(packed, count, bits, symbols);
}

#include "huffman8_loops.inc"
#include "rans8_loops.inc"

// ---- rANS decoding, 8 lanes a vector, by gathers from the slots ------------------------------------------------------------

// For each mask of lanes that take a word: which of the 8 words below `in` each takes. The lowest lane takes the highest.
struct WordOfLane {
    alignas(64) std::uint8_t words[256][8];

    constexpr WordOfLane() : words{} {
        for (unsigned mask = 0; mask < 256; ++mask) {
            unsigned word = 7;
            for (unsigned lane = 0; lane < 8; ++lane) {
                words[mask][lane] = static_cast<std::uint8_t>(word);
                if ((mask >> lane & 1u) != 0 && word > 0) --word;
            }
        }
    }
};
constexpr WordOfLane kWordOfLane;

// Advances 8 lanes; returns their slots' entries.
inline __m256i rans_group(const std::uint32_t* slots, __m256i& x, const std::uint8_t*& in) {
    const __m256i slot_mask = _mm256_set1_epi32(kRansTotal - 1);
    const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(slots), _mm256_and_si256(x, slot_mask), 4);
    const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(entry, 8), slot_mask);
    const __m256i product = _mm256_mullo_epi32(_mm256_srli_epi32(entry, 20), _mm256_srli_epi32(x, kRansProbBits));
    const __m256i next = _mm256_add_epi32(product, offset);  // below 2^31: signed comparison will do
    const __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(kRansLow), next);
    const auto mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
    const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in - 16)));
    const __m256i which = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kWordOfLane.words[mask])));
    const __m256i taken = _mm256_or_si256(_mm256_slli_epi32(next, 16), _mm256_permutevar8x32_epi32(words, which));
    x = _mm256_blendv_epi8(next, taken, low);
    in -= 2 * __builtin_popcount(mask);
    return entry;
}

template <unsigned Groups>
const std::uint8_t* rans_rows_of_groups(const std::uint32_t* slots, const std::uint8_t* begin, const std::uint8_t* in, std::uint32_t* states,
                                        std::uint8_t* symbols, std::size_t rows, std::size_t* row) {
    __m256i x[Groups];
    for (unsigned g = 0; g < Groups; ++g) x[g] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * g));
    const __m256i byte = _mm256_set1_epi32(255);
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    std::size_t r = 0;
    for (; r < rows && in - begin >= static_cast<std::ptrdiff_t>(16 * Groups + 16); ++r) {
        std::uint8_t* const to = symbols + r * 8 * Groups;
        for (unsigned g = 0; g < Groups; g += 2) {
            const __m256i first = _mm256_and_si256(rans_group(slots, x[g], in), byte);
            const __m256i second = _mm256_and_si256(rans_group(slots, x[g + 1], in), byte);
            const __m256i halves = _mm256_packus_epi32(first, second);
            const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(halves, halves), in_order);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * g), _mm256_castsi256_si128(bytes));
        }
    }
    for (unsigned g = 0; g < Groups; ++g) _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * g), x[g]);
    *row = r;
    return in;
}

const std::uint8_t* rans_decode(const RansCode& code, const std::uint32_t* slots, unsigned bits, const std::uint8_t* begin,
                                const std::uint8_t* end, unsigned lanes, std::uint32_t* states, std::uint8_t* symbols, std::size_t count) {
    if (lanes < 16) return rans_decode_scalar(code, slots, bits, begin, end, lanes, states, symbols, count);
    const std::uint8_t* at = end;
    std::size_t row = 0;
    switch (lanes) {
        case 128: at = rans_rows_of_groups<16>(slots, begin, at, states, symbols, count / lanes, &row); break;
        case 64: at = rans_rows_of_groups<8>(slots, begin, at, states, symbols, count / lanes, &row); break;
        case 32: at = rans_rows_of_groups<4>(slots, begin, at, states, symbols, count / lanes, &row); break;
        default: at = rans_rows_of_groups<2>(slots, begin, at, states, symbols, count / lanes, &row); break;
    }
    return rans_finish(slots, begin, at, states, lanes, symbols, count, row);
}

// 32 bytes at a time: their low nibbles look up rows, their next three bits a bit in them.
unsigned find_bytes(const std::uint8_t* bytes, std::size_t count, const std::uint8_t* rows, std::uint16_t* positions) {
    const __m256i low_rows = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows)));
    const __m256i high_rows = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + 16)));
    const __m256i powers = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
    const __m256i nibble = _mm256_set1_epi8(15);
    unsigned found = 0;
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + i));
        const __m256i low = _mm256_and_si256(x, nibble);
        const __m256i row = _mm256_blendv_epi8(_mm256_shuffle_epi8(low_rows, low), _mm256_shuffle_epi8(high_rows, low), x);
        const __m256i bit = _mm256_shuffle_epi8(powers, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
        const __m256i absent = _mm256_cmpeq_epi8(_mm256_and_si256(row, bit), _mm256_setzero_si256());
        for (auto mask = ~static_cast<unsigned>(_mm256_movemask_epi8(absent)); mask != 0; mask &= mask - 1) {
            positions[found++] = static_cast<std::uint16_t>(i + static_cast<unsigned>(__builtin_ctz(mask)));
        }
    }
    for (; i < count; ++i) {
        positions[found] = static_cast<std::uint16_t>(i);
        found += rows[(bytes[i] & 15) + 16 * (bytes[i] >> 7)] >> (bytes[i] >> 4 & 7) & 1;
    }
    return found;
}

}  // namespace

const Order0Kernels kOrder0Avx2 = {"avx2",         histogram,      pack,        unpack,      huffman_table,   huffman_encode,
                                    huffman_decode, rans_slots, portable_rans_encode, rans_decode, portable_rans_needs_slots,
                                    find_bytes};
bool huffman_decode_avx2(const HuffmanJob& job) { return huffman_decode(job); }
void huffman_encode_avx2(const HuffmanCode& code, const std::uint8_t* const* in, const std::size_t* sizes, std::uint8_t* const* out,
                         std::size_t* written) {
    huffman_encode(code, in, sizes, out, written);
}
std::uint8_t* rans_encode_avx2(const RansCode& code, unsigned bits, const std::uint8_t* symbols, std::size_t count, unsigned lanes,
                               std::uint32_t* states, std::uint8_t* out, const std::uint8_t* end) {
    return portable_rans_encode(code, bits, symbols, count, lanes, states, out, end);
}
unsigned find_bytes_avx2(const std::uint8_t* bytes, std::size_t count, const std::uint8_t* rows, std::uint16_t* positions) {
    return find_bytes(bytes, count, rows, positions);
}

}  // namespace featcodec
