// Context coder: splitting and joining symbols of 16 bits, scalar on every instruction set.
#include <algorithm>
#include <bit>

#include "context_internal.hpp"

namespace featcodec {
namespace {

unsigned wide_token(unsigned symbol, const TokenClasses& classes) {
    if (symbol < 16) return classes.low[symbol];
    if (classes.bits <= 8) return classes.high[symbol >> classes.high_shift];
    // Octave k has its own class, in two halves while classes last (token_classes): count them.
    const unsigned octaves = std::min(classes.bits - 2, kTokens - 4);
    const unsigned halves = kTokens - 4 - octaves;
    const auto width = static_cast<unsigned>(std::bit_width(symbol));
    const unsigned octave = std::min(width - 3, octaves - 1);
    return 4 + octave + std::min(octave, halves) + (octave < halves ? (symbol >> (width - 2)) & 1u : 0u);
}

}  // namespace

std::uint64_t context_split_wide(const std::uint16_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens, std::uint8_t* raw) {
    std::uint64_t pending = 0;
    std::uint64_t bits = 0;
    unsigned filled = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned symbol = symbols[i];
        const unsigned token = wide_token(symbol, classes);
        tokens[i] = static_cast<std::uint8_t>(token);
        pending |= std::uint64_t{symbol - classes.base[token]} << filled;
        filled += classes.extra[token];
        bits += classes.extra[token];
        if (filled >= 32) {
            for (unsigned byte = 0; byte < 4; ++byte) *raw++ = static_cast<std::uint8_t>(pending >> (8 * byte));
            pending >>= 32;
            filled -= 32;
        }
    }
    for (; filled > 0; filled -= std::min(filled, 8u), pending >>= 8) *raw++ = static_cast<std::uint8_t>(pending);
    return bits;
}

std::uint64_t context_join_wide(const std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                std::size_t raw_size, std::uint16_t* symbols) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned token = tokens[i];
        const std::size_t at = static_cast<std::size_t>(bits / 8);
        std::uint32_t window = 0;
        if (at + 4 <= raw_size) {
            window = static_cast<std::uint32_t>(raw[at]) | static_cast<std::uint32_t>(raw[at + 1]) << 8 |
                     static_cast<std::uint32_t>(raw[at + 2]) << 16;
        } else {
            for (unsigned b = 0; b < 3 && at + b < raw_size; ++b) window |= std::uint32_t{raw[at + b]} << (8 * b);
        }
        const std::uint32_t value = (window >> (bits % 8)) & ((1u << classes.extra[token]) - 1);
        symbols[i] = static_cast<std::uint16_t>(classes.base[token] + value);
        bits += classes.extra[token];
    }
    return bits;
}

}  // namespace featcodec
