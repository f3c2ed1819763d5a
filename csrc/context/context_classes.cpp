// Context coder: how symbols fall into token classes.
#include <algorithm>
#include <bit>

#include "context_internal.hpp"

namespace featcodec {

Neighbours neighbours_of(Neighbourhood neighbourhood, unsigned bits) {
    if (neighbourhood == Neighbourhood::gradient) return Neighbours::gradient;
    return bits <= kNarrowBits ? Neighbours::four : Neighbours::two;
}

unsigned contexts_of(Neighbours neighbours) { return neighbours == Neighbours::gradient ? kGradientContexts : kNearContexts; }

TokenClasses token_classes(unsigned bits, Neighbourhood neighbourhood) {
    TokenClasses classes;
    classes.bits = bits;
    classes.raw = bits <= 4;
    unsigned count = 0;
    const auto add = [&](unsigned first) { classes.first[count++] = static_cast<std::uint16_t>(first); };
    // Up to 7 bits: finer at the bottom than octave halves, as there are classes to spare; above 16, multiples of 2^(bits - 4).
    static constexpr std::array<std::uint8_t, 16> kFive = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28};
    static constexpr std::array<std::uint8_t, 16> kSix = {0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48};
    static constexpr std::array<std::uint8_t, 16> kSeven = {0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 40, 48, 64, 96};
    static constexpr std::array<std::uint8_t, 16> kEight = {0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 48, 64, 96, 128, 160, 192};
    // Residuals of 8 bits are small: classes are finer below 16.
    static constexpr std::array<std::uint8_t, 16> kEightResidual = {0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 48, 64, 96, 128};
    const auto& eight = neighbourhood == Neighbourhood::gradient ? kEightResidual : kEight;
    if (bits <= 4) {
        for (unsigned s = 0; s < (1u << bits); ++s) add(s);
    } else if (bits <= 8) {
        const auto& table = bits == 5 ? kFive : bits == 6 ? kSix : bits == 7 ? kSeven : eight;
        for (const std::uint8_t first : table) add(first);
    } else {
        for (unsigned s = 0; s < 4; ++s) add(s);
        const unsigned octaves = std::min(bits - 2, kTokens - 4);
        const unsigned halves = kTokens - 4 - octaves;
        for (unsigned k = 0; k < octaves; ++k) {
            add(4u << k);
            if (k < halves) add(6u << k);
        }
    }
    classes.count = count;
    for (unsigned t = 0; t < count; ++t) {
        const unsigned end = t + 1 < count ? classes.first[t + 1] : 1u << bits;
        const unsigned size = end - classes.first[t];
        const bool whole = std::has_single_bit(size);  // the merged top class sends the symbol itself
        classes.extra[t] = static_cast<std::uint8_t>(whole ? std::bit_width(size) - 1 : static_cast<int>(bits));
        classes.base[t] = whole ? classes.first[t] : std::uint16_t{0};
    }
    classes.high_shift = bits > 4 && bits <= 8 ? bits - 4 : 0;
    const auto token_of = [&](unsigned symbol) {
        unsigned token = 0;
        while (token + 1 < count && classes.first[token + 1] <= symbol) ++token;
        return static_cast<std::uint8_t>(token);
    };
    for (unsigned i = 0; i < 16; ++i) {
        classes.low[i] = token_of(i);
        classes.high[i] = token_of(i << classes.high_shift);
    }
    return classes;
}

}  // namespace featcodec
