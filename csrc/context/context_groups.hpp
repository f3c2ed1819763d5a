// Context coder: merging raw contexts that are alike into groups that share a table. Not for the ISA files.
#pragma once

#include "context_internal.hpp"

namespace featcodec {

// Fixed-point logarithms: the encoder's choices must not depend on a floating-point library.
inline constexpr unsigned kLogFraction = 16;
std::uint32_t log2_fixed(std::uint32_t value);  // log2(value) * 2^16, value >= 1, within 2^-10

using TokenRow = std::array<std::uint32_t, kTokens>;
std::uint32_t total_of(const TokenRow& row);
std::int64_t entropy_fixed(const TokenRow& row);  // bits * 2^16 of all its tokens, the table not counted

// The order in which the table section names raw contexts: neighbours in it are alike.
unsigned order_size(Neighbours neighbours);
unsigned ordered_context(unsigned place, Neighbours neighbours);

struct Grouping {
    std::array<TokenRow, kContextTables> rows{};
    std::array<std::uint8_t, kRawContexts> group_of{};  // of every raw context
    unsigned size = 0;
};

// Groups below `floor` symbols join the one before them; `entry_bits` is what an entry of a table costs. near: groups are
// neighbours in the order; gradient: any.
Grouping group_contexts(const ContextCounts& counts, Neighbours neighbours, std::uint32_t floor, unsigned entry_bits);

// context_tables.cpp: the nearest distribution that costs few bits, and its dominant token.
std::uint8_t context_quantise(const TokenRow& row, unsigned mantissa, unsigned tokens, std::uint16_t* frequency);
// Chooses the plan's golomb_order; returns the bits of its table section.
std::uint64_t context_price_tables(ContextPlan& plan, unsigned bits);

}  // namespace featcodec
