// Order-0 coding of uint8 symbols below 2^bits (1..8): the contract. The streams byte by byte: docs/order0.md.
//
// Encoders return the bytes written, or 0 where the result does not fit `out` (a caller then sends raw bits). Decoders take
// hostile bytes and return a Status. Every function takes the kernels of one ISA level; all levels give the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "featcodec.hpp"
#include "order0_kernels.hpp"

namespace featcodec {

using ByteCounts = std::uint32_t[256];

// ---- coded bytes: 8, 4, 2, 2 symbols for bits 1..4, else one -------------------------------------------------------------
constexpr unsigned symbols_per_byte(unsigned bits) { return bits == 1 ? 8 : bits == 2 ? 4 : bits <= 4 ? 2 : 1; }
constexpr std::size_t coded_bytes(std::size_t count, unsigned bits) {
    return count / symbols_per_byte(bits) + (count % symbols_per_byte(bits) != 0 ? 1 : 0);
}
// Distinct values of a coded byte.
constexpr unsigned coded_alphabet(unsigned bits) { return 1u << (bits <= 4 ? symbols_per_byte(bits) * bits : bits); }

// counts[v] = occurrences of the coded byte v. Overwrites. A symbol's bits above `bits` are dropped for bits <= 4, else the
// symbol is counted as it is: counts at or above 2^bits tell a caller's mistake.
// packed: where the coded bytes are to go for bits <= 4; null: nowhere.
void histogram_coded(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, ByteCounts& counts,
                     std::uint8_t* packed = nullptr);
// Counts of the symbols themselves, from those of coded bytes.
void histogram_symbols(const ByteCounts& coded, std::size_t count, unsigned bits, ByteCounts& symbol_counts);

// ---- raw bits, most significant first: bitpack's layout ------------------------------------------------------------------
std::size_t pack8_size(std::size_t count, unsigned bits);
std::size_t pack8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, std::span<std::uint8_t> out);
Status pack8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols);

// ---- Huffman over coded bytes, lengths up to 11 --------------------------------------------------------------------------
inline constexpr std::size_t kHuffman8TableBound = 256;
// counts beyond coded_alphabet(bits) must be zero; at least one must not.
void huffman8_build(const ByteCounts& coded, HuffmanCode& code);
std::size_t huffman8_write_table(const HuffmanCode& code, unsigned bits, std::span<std::uint8_t> out);
Status huffman8_read_table(std::span<const std::uint8_t> in, unsigned bits, HuffmanCode& code, std::size_t& used);
// Bytes of a Huffman stream without its table: exact but for each segment's padding, which is taken as a whole byte.
std::size_t huffman8_cost(const HuffmanCode& code, const ByteCounts& coded, std::size_t count, unsigned bits);

// A code and its decoding table, built once: for static tables. Every coded byte has a code.
struct HuffmanStatic {
    HuffmanCode code;
    std::uint64_t table[1u << kHuffmanMaxLength];
};
// counts of coded bytes seen in calibration; each is raised to at least a small share, so that nothing lacks a code.
void huffman8_build_static(const Order0Kernels& kernels, const ByteCounts& coded, unsigned bits, HuffmanStatic& fixed);
// From a table that huffman8_write_table made of such a code: what a codec keeps in its state.
Status huffman8_load_static(const Order0Kernels& kernels, std::span<const std::uint8_t> table, unsigned bits, HuffmanStatic& fixed);

// `table`: what huffman8_write_table made, sent first; empty where the receiver has it. 0 where out is too small.
// packed: what histogram_coded packed; null: nothing has been.
std::size_t huffman8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, const std::uint8_t* packed, unsigned bits,
                            const HuffmanCode& code, std::span<const std::uint8_t> table, std::span<std::uint8_t> out);
Status huffman8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols);
Status huffman8_decode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const HuffmanStatic& fixed,
                              std::span<std::uint8_t> symbols);

// ---- rANS over symbols: 12-bit frequencies, sent as a curve (curve8.hpp) -----------------------------------------------------
inline constexpr std::size_t kCurve8TableBound = 2048;
// Normative.
unsigned curve8_lanes(std::size_t count);
// From code.freq what decoders need, and encoders beside it.
void rans8_starts(RansCode& code, unsigned bits);
void rans8_steps(RansCode& code);
// log2 of an integer to 2e-5, the same on every machine.
double log2_of(std::uint32_t value);

// The symbols that share one frequency: the first of them stands for all in the words, which one it is follows in plain bits.
struct RareSymbols {
    unsigned count;
    std::uint8_t symbols[256];        // ascending; [0] is the one that has the frequency
};

// Bytes of a stream without its table, within about 0.1 % and a byte.
std::size_t curve8_cost(const RansCode& code, const RareSymbols& rare, const ByteCounts& counts, std::size_t count);
// `table`: what curve8_write made, sent first; empty where the receiver has it. code: of curve8_prepare. 0 where out is too small.
std::size_t curve8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, const RansCode& code,
                          const RareSymbols& rare, std::span<const std::uint8_t> table, std::span<std::uint8_t> out);
Status curve8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols);

struct RansStatic {
    RansCode code;
    RareSymbols rare;
    RansSlots slots;
};
// The table from counts of calibration, each raised to at least 1, so that nothing lacks a code; returns its bytes.
std::size_t curve8_train_static(const ByteCounts& symbol_counts, unsigned bits, std::span<std::uint8_t> table);
Status curve8_load_static(const Order0Kernels& kernels, std::span<const std::uint8_t> table, unsigned bits, RansStatic& fixed);
Status curve8_decode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansStatic& fixed,
                            std::span<std::uint8_t> symbols);

// ---- the pick ------------------------------------------------------------------------------------------------------------
enum class Order0Mode : std::uint8_t { raw = 0, huffman = 2, huffman_static = 4, rans_static = 5, constant = 6, curve = 9 };

struct Order0Costs {
    std::size_t raw, huffman, rans;  // bytes, mode byte included; SIZE_MAX where the mode does not apply
    bool constant;
};

// What both sides hold beside the stream; null where there is none.
struct Order0Tables {
    const HuffmanStatic* huffman = nullptr;
    const RansStatic* rans = nullptr;
};

enum class Order0Choice { smallest, huffman, rans };

// No stream of order0_encode takes fewer bytes, that of constant symbols aside.
std::size_t order0_least(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits);
std::size_t order0_bound(std::size_t count, unsigned bits);
// out.size() must be order0_bound(...). Throws std::invalid_argument on symbols at or above 2^bits where bits > 4.
std::size_t order0_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, Order0Choice choice,
                          std::span<std::uint8_t> out);
// One pass, no histogram: with the static tables given (Huffman before rANS), raw bits where they would be smaller.
std::size_t order0_encode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits,
                                 const Order0Tables& tables, std::span<std::uint8_t> out);
Status order0_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const Order0Tables& tables,
                     std::span<std::uint8_t> symbols);

}  // namespace featcodec
