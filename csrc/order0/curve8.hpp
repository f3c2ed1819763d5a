// How mode 9 sends frequencies: as a curve. The logarithms of a few symbols' frequencies (knots), straight lines between them, single
// symbols that stand off the curve, and one frequency for all rare symbols together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "featcodec.hpp"
#include "order0.hpp"

namespace featcodec {

inline constexpr unsigned kCurveOctave = 16;           // levels in a doubling of a frequency
inline constexpr unsigned kCurveOne = kCurveOctave;    // the level of frequency 1 of kRansTotal, as encoders choose it
inline constexpr unsigned kCurveRare = 10;             // symbols below this level are rare
inline constexpr unsigned kCurveMaxLevel = 14 * kCurveOctave - 1;
inline constexpr unsigned kCurveMaxSpacing = 5;        // binary logarithm of the distance of two knots
inline constexpr unsigned kCurveMaxCoarseness = 4;     // binary logarithm of a knot's unit, in levels

struct Curve8 {
    unsigned last;                    // the highest symbol that may occur, 1..255
    unsigned spacing;                 // knot j is at symbol j << spacing
    unsigned coarseness;              // a knot's level is its value << coarseness
    std::uint8_t knots[257];
    unsigned num_exceptions;
    std::uint8_t symbols[256];        // of exceptions, ascending
    std::uint8_t levels[256];         // of exceptions
    std::uint8_t rare_level;          // of all rare symbols together; 0: rare symbols do not occur

    unsigned num_knots() const { return (last + (1u << spacing) - 1) / (1u << spacing) + 1; }
};

// A level for each symbol up to curve.last, exceptions included.
void curve8_levels(const Curve8& curve, std::uint8_t* levels);
// Twice as large 16 levels on: 256 * 2^(level / 16), of which the first 16 are rounded.
constexpr std::uint32_t curve8_weight(unsigned level) {
    constexpr std::uint16_t kFirst[kCurveOctave] = {256, 267, 279, 292, 304, 318, 332, 347, 362, 378, 395, 412, 431, 450, 470, 490};
    return std::uint32_t{kFirst[level % kCurveOctave]} << level / kCurveOctave;
}
// Frequencies in proportion to the weights, and what decoders need beside them; false where they make no code. Normative.
bool curve8_code(const Curve8& curve, unsigned bits, RansCode& code, RareSymbols& rare);
// What encoders need beside that.
void curve8_steps(RansCode& code, const RareSymbols& rare);

std::size_t curve8_write(const Curve8& curve, unsigned bits, std::span<std::uint8_t> out);
Status curve8_read(std::span<const std::uint8_t> in, unsigned bits, Curve8& curve, std::size_t& used);
// How knots are sent: by this Exp-Golomb-coded.
unsigned curve8_knot_code(int before, int value);
inline int curve8_first_knot(unsigned coarseness) { return static_cast<int>(6 * kCurveOctave >> coarseness); }

// The curve that makes table and symbols small together, for counts of which at least two are not zero. No part of the format.
void curve8_fit(const ByteCounts& counts, unsigned bits, Curve8& curve);

}  // namespace featcodec
