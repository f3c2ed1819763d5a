// featcodec core: the contract of every primitive. No Python here.
//
// Conventions. Spans in, spans out; the caller allocates, the *_bound functions say how much. Bits are written most significant
// first. Nothing that is read is believed before it is checked, and no input makes a function abort: what may be wrong with
// received bytes is a Status. A wrong argument from our own caller (an output span too small, bits out of range) is
// std::invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "exact_math.hpp"

namespace featcodec {

enum class Status {
    ok,
    truncated,      // the stream ends before its last symbol
    trailing,       // bytes (or non-zero padding bits) are left over after the last symbol
    bad_mode,       // the mode byte names no mode
    bad_table,      // a code table that no encoder writes: lengths out of range, Kraft sum not one, symbols out of range
    bad_code,       // codes that no encoder writes: an integer of more than 32 bits, states that do not end where encoders begin
    bad_range,      // a quantiser's range or width that no encoder writes
};

// One clause that says what is wrong, for an error message.
const char* describe(Status status) noexcept;

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), of `data` appended to what gave `crc`.
std::uint32_t crc32c(std::span<const std::uint8_t> data, std::uint32_t crc = 0) noexcept;

// ---- fixed-width symbols ------------------------------------------------------------------------------------------------
inline constexpr unsigned kMaxSymbolBits = 16;

// Bytes that `count` symbols of `bits` bits take.
std::size_t packed_size(std::size_t count, unsigned bits);
// out.size() must be packed_size(symbols.size(), bits); a symbol's bits above `bits` are dropped.
void pack_bits(std::span<const std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out);
// in.size() must be packed_size(symbols.size(), bits), else truncated or trailing.
Status unpack_bits(std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint16_t> symbols);

// ---- integer sequences for tables: one byte k (0..31), then Exp-Golomb codes of order k (bits.hpp) ------------------------
std::size_t golomb_bound(std::size_t count) noexcept;
// Picks the k that gives the fewest bits; returns the bytes written.
std::size_t golomb_encode(std::span<const std::uint32_t> values, std::span<std::uint8_t> out);
// Reads exactly values.size() codes; `used` is set to the bytes they took. Bytes after them are the caller's.
Status golomb_decode(std::span<const std::uint8_t> in, std::span<std::uint32_t> values, std::size_t& used);

// ---- canonical, length-limited Huffman -----------------------------------------------------------------------------------
inline constexpr unsigned kMaxCodeLength = 20;

// Lengths of an optimal prefix code with no length above kMaxCodeLength (package-merge; Larmore and Hirschberg 1990).
// counts[s] > 0 gets a length >= 1, counts[s] == 0 gets 0; a single symbol gets length 0. At most 2^16 symbols.
void huffman_code_lengths(std::span<const std::uint32_t> counts, std::span<std::uint8_t> lengths);

// Stream: mode byte (0 packed bits, 1 Huffman with its table), then the body; docs/bitstream.md, "Symbol streams".
std::size_t huffman_bound(std::size_t count, unsigned bits);
// Symbols must be below 2^bits. Picks the smaller mode from exact costs; returns the bytes written.
std::size_t huffman_encode(std::span<const std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out);
// It writes no fewer bytes.
std::size_t huffman_least(std::span<const std::uint16_t> symbols, unsigned bits);
Status huffman_decode(std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint16_t> symbols);
// The bits of the table in a body of mode 1, read as huffman_decode does; the codes follow in the same byte.
Status huffman_table_bits(std::span<const std::uint8_t> body, unsigned bits, std::uint64_t& table_bits);

}  // namespace featcodec
