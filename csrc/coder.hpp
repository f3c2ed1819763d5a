// Symbol streams: one mode byte, then what that mode writes. Chooses among the primitives by exact or estimated cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "context/context.hpp"
#include "cpu.hpp"
#include "featcodec.hpp"
#include "order0/order0.hpp"

namespace featcodec {

// packed: the symbols alone, without a mode byte.
enum class Family : std::uint8_t { packed, huffman, rans, context, automatic };

// The mode byte. Normative: docs/bitstream.md, "Symbol streams", which says of what is missing here why.
enum class Mode : std::uint8_t {
    packed = 0,
    huffman = 1,  // one stream, any alphabet: huffman.cpp
    huffman8 = 2,
    huffman8_static = 4,
    rans8_static = 5,
    constant = 6,
    rans8_curve = 9,
    context = 96,        // to 127, with bits of its own: those below, and below them the binary logarithm of the lanes
};
inline constexpr std::uint8_t kContextStatic = 16;
inline constexpr std::uint8_t kContextGradient = 8;

// What a static codec holds on both sides, made once from counts; 60 KB, so never on the stack.
struct StaticModel {
    unsigned bits = 0;  // of the symbols it codes
    std::unique_ptr<HuffmanStatic> huffman;
    std::unique_ptr<RansStatic> rans;
    std::unique_ptr<ContextModel> context;
    unsigned context_rate = 0;  // bits * 16 of a symbol's token, as calibration saw it: from it the encoder takes its lanes
};

struct Coder {
    Family family = Family::automatic;
    unsigned bits = 8;                    // symbols are below 2^bits
    const StaticModel* model = nullptr;   // null: adaptive
};

// Of the family packed a stream has packed_size bytes.
std::size_t coder_bound(const ContextShape& shape, unsigned bits);
// Bytes written. Symbols as uint8 where bits <= 8, else as uint16.
std::size_t coder_encode(const Coder& coder, std::span<const std::uint8_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out);
std::size_t coder_encode(const Coder& coder, std::span<const std::uint16_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out);
Status coder_decode(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, std::span<std::uint8_t> symbols);
Status coder_decode(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, std::span<std::uint16_t> symbols);

// Whether a stream says of one symbol that all are it, and of which: so that they need not be made.
bool coder_only_symbol(std::span<const std::uint8_t> in, unsigned bits, std::uint16_t& symbol);

// The bits of the table that such a stream sends before its symbols, padding included, read over as a decoder does; 0 where the mode
// sends none. What comes after the table is not looked at. Not for the family packed, whose streams have no table.
Status coder_table_bits(std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits, std::uint64_t& table_bits);

}  // namespace featcodec
