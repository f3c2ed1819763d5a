// The ISA-dependent operations of the order-0 coders, as function pointers: one table per level, the same bytes from each.
// Plain structs and pointers only: an ISA file that included a template or an inline function could leave its body to the linker.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu.hpp"

namespace featcodec {

// ---- Huffman -----------------------------------------------------------------------------------------------------------
inline constexpr unsigned kHuffmanMaxLength = 11;
inline constexpr unsigned kHuffmanLanes = 3;            // segments that the encoder runs side by side
inline constexpr unsigned kHuffmanMaxDepth = 6;         // symbols in one entry of the decoding table
inline constexpr std::size_t kHuffmanSegment = 16384;   // most bytes in a segment
inline constexpr unsigned kHuffmanDecodeLanes = 6;      // segments that the decoder runs side by side
inline constexpr std::size_t kHuffmanStripe = 16;       // coded bytes dealt out at a time, where segments are striped
inline constexpr std::size_t kHuffmanStriped = 16384;   // below these coded bytes they are
inline constexpr std::size_t kHuffmanSmall = 4096;      // below these a table of single symbols will do
// What a decoder of large inputs wants beside its stack: a segment of each lane, and striped segments brought together.
inline constexpr std::size_t kHuffmanDecodeRoom = kHuffmanDecodeLanes * kHuffmanSegment + kHuffmanStriped;
inline constexpr std::size_t kHuffmanSegmentBound = kHuffmanSegment * kHuffmanMaxLength / 8 + 64;

// A canonical code over bytes: what encoding and table building need.
struct HuffmanCode {
    std::uint8_t lengths[256];      // 0: the symbol does not occur
    std::uint8_t order[256];        // symbols by length, then by value
    std::uint16_t of_length[kHuffmanMaxLength + 2];  // codes of each length
    std::uint16_t distinct;
    std::uint8_t longest;
    // For the encoder: the code in the top `length` bits, the length in the low 6 bits.
    std::uint64_t words[256];
    // The same for byte permutes: the low 8 bits of the code; and length | high 3 bits of the code << 4.
    std::uint8_t code_low[256];
    std::uint8_t code_high[256];
};

// An entry of the decoding table, indexed by the next index_bits of the stream:
// bits 0..47 up to six symbols, first lowest; 48..55 their total length; 56..63 how many.
struct HuffmanJob {
    const std::uint64_t* table;      // null: the decoder makes one of single symbols; below kHuffmanSmall coded bytes
    unsigned index_bits;             // 1..11
    const HuffmanCode* code;
    const std::uint8_t* sizes;       // uint16 each, of all segments but the last; their sum is checked
    const std::uint8_t* in;          // the first segment
    const std::uint8_t* in_end;      // of the last
    std::size_t num_segments;
    std::size_t segment_size;        // in coded bytes; 0: striped
    unsigned bits;                   // of a symbol; <= 4: a coded byte holds several
    std::uint8_t* out;
    std::size_t count;               // symbols in `out`
    std::uint8_t* room;              // kHuffmanDecodeRoom bytes; null where `table` is
};

// ---- rANS --------------------------------------------------------------------------------------------------------------
inline constexpr unsigned kRansProbBits = 12;
inline constexpr std::uint32_t kRansTotal = 1u << kRansProbBits;
inline constexpr std::uint32_t kRansLow = 1u << 15;  // states lie in [kRansLow, kRansHigh)
inline constexpr std::uint32_t kRansHigh = 1u << 31;
inline constexpr unsigned kRansMaxLanes = 128;

struct RansCode {
    std::uint16_t freq[256];         // sum kRansTotal; 0: the symbol does not occur; at most kRansTotal - 1
    std::uint16_t start[256];        // of symbols at or above 2^bits: kRansTotal
    // For the encoder: quotient = x * reciprocal >> 32 >> shift, then x += bias + quotient * (kRansTotal - freq).
    std::uint32_t reciprocal[256];
    std::uint32_t step[256];         // freq | bias << 12 | shift << 25
};

// A set of bytes: byte b is bit (b >> 4 & 7) of rows[(b & 15) + 16 * (b >> 7)].
struct ByteSet {
    std::uint8_t rows[32];
    void add(std::uint8_t byte) { rows[(byte & 15) + 16 * (byte >> 7)] |= static_cast<std::uint8_t>(1u << (byte >> 4 & 7)); }
};

// slot -> symbol | (slot - start) << 8 | freq << 20
using RansSlots = std::uint32_t[kRansTotal];

struct Order0Kernels {
    const char* name;
    // Adds the occurrences of each byte to counts[256].
    void (*histogram)(const std::uint8_t* data, std::size_t size, std::uint32_t* counts);
    // bits 1..4; the first symbol in the highest bits, the last byte padded with zeros; bits of a symbol above `bits` are dropped.
    void (*pack)(const std::uint8_t* symbols, std::size_t count, unsigned bits, std::uint8_t* out);
    void (*unpack)(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* symbols);
    // 2^index_bits entries of at most `depth` symbols each; scratch: 2048 entries.
    void (*huffman_table)(const HuffmanCode& code, unsigned index_bits, unsigned depth, std::uint64_t* table, std::uint64_t* scratch);
    // kHuffmanLanes runs of bytes, each to its own kHuffmanSegmentBound bytes; written[] is what they took.
    void (*huffman_encode)(const HuffmanCode& code, const std::uint8_t* const* in, const std::size_t* sizes, std::uint8_t* const* out,
                           std::size_t* written);
    bool (*huffman_decode)(const HuffmanJob& job);
    void (*rans_slots)(const RansCode& code, unsigned bits, std::uint32_t* slots);
    // Writes the words of rows from the last to the first and moves the states on. Returns the end of the words; null where
    // they do not fit below `end`, of which up to 6 bytes a lane may have to stay free.
    std::uint8_t* (*rans_encode)(const RansCode& code, unsigned bits, const std::uint8_t* symbols, std::size_t count, unsigned lanes,
                                 std::uint32_t* states, std::uint8_t* out, const std::uint8_t* end);
    // Reads words from `end` down and moves the states on, which lie in [kRansLow, kRansHigh). Returns where it came to; null where
    // words run short at `begin`. slots may be null where the level decodes without (AVX-512: bits <= 6, 16 lanes or more).
    const std::uint8_t* (*rans_decode)(const RansCode& code, const std::uint32_t* slots, unsigned bits, const std::uint8_t* begin,
                                       const std::uint8_t* end, unsigned lanes, std::uint32_t* states, std::uint8_t* symbols,
                                       std::size_t count);
    // Whether decoding with slots is the fastest, or the only way.
    bool (*rans_needs_slots)(unsigned bits, unsigned lanes);
    // Where the bytes of a set (ByteSet::rows) are among the first `count`, at most 2^16; returns how many. positions: `count` of them.
    unsigned (*find_bytes)(const std::uint8_t* bytes, std::size_t count, const std::uint8_t* rows, std::uint16_t* positions);
};

}  // namespace featcodec
