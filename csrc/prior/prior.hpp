// Integers by tables of frequencies, one for each map, through an arithmetic coder (Martin 1979) with a 48-bit window and carries.
// Normative: docs/bitstream.md, "entropic". tests/prior_reference.py has the same in Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "featcodec.hpp"

namespace featcodec {

inline constexpr unsigned kPriorPrecision = 16;     // a row of frequencies sums to 2^16
inline constexpr std::size_t kPriorWindow = 64;     // integers of a map with a frequency of their own; a row's last entry is the escape
inline constexpr std::int64_t kPriorLimit = 32767;  // what is escaped lies within +-kPriorLimit

// Of `maps` rows; believed by nobody before prior_check.
struct PriorTables {
    std::span<const std::int64_t> frequencies;  // maps * (kPriorWindow + 1)
    std::span<const std::int64_t> first;        // maps: the integer of a row's first entry
};

// bad_table unless every frequency is at least 1, every row sums to 2^16 and every first is an integer of 32 bits.
// std::invalid_argument where there are not first.size() rows.
Status prior_check(const PriorTables& tables);

// Bytes that `count` integers take at most, whatever the tables.
std::size_t prior_bound(std::size_t count) noexcept;

// `integers`: first.size() rows of equal length. Writes to `out` of at least prior_bound bytes; `size` is set to those used.
// bad_table as prior_check; std::invalid_argument where one that is escaped is not within +-kPriorLimit, or sizes do not fit.
Status prior_encode(const PriorTables& tables, std::span<const std::int64_t> integers, std::span<std::uint8_t> out, std::size_t& size);

// Beyond the end of `in` there are zeros, which an encoder leaves out: at most some 70 steps an integer, whatever the bytes are.
// bad_code for bytes or escapes that no encoder writes, trailing for bytes left over or a zero at the end.
Status prior_decode(const PriorTables& tables, std::span<const std::uint8_t> in, std::span<std::int64_t> integers);

}  // namespace featcodec
