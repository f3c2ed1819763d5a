// Features of one batch straight to payloads and back: quantiser and symbol stream in one call, samples in parallel.
//
// Payload, min-max: for each group minimum and maximum, float32 little-endian (the minima alone where no group varies), then the
// symbol stream of the groups that vary. Payload, step: one byte, the bits of a symbol, kZigzag and kEscapes; the escapes, if any (the
// values without an integer of 16 bits); then the symbol stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "coder.hpp"
#include "quantize/quantize.hpp"

namespace featcodec {

struct FeatureCoder {
    Family family = Family::automatic;
    unsigned bits = 8;           // of the min-max quantiser, 1..16
    bool per_map = false;        // a range for every map instead of one for the sample
    bool zero_level = false;     // encoders: ranges in which 0 is a level (quantize.hpp)
    float step = 0.0f;           // above zero: the step quantiser instead
    bool zigzag = false;         // static tables of a step quantiser: whether they were trained on features with negative values
    const StaticModel* model = nullptr;
};

inline constexpr std::uint8_t kZigzag = 0x80;
inline constexpr std::uint8_t kEscapes = 0x40;
inline constexpr std::size_t kNoSample = SIZE_MAX;

struct Encoded {
    std::vector<std::vector<std::uint8_t>> payloads;
    std::size_t not_finite = kNoSample;  // the first sample with a value that is not finite
};

// x: samples * maps * height * width values. Where the result names a bad sample the payloads mean nothing: no value is clipped.
Encoded feature_encode(const FeatureCoder& coder, FloatSpan x, std::size_t samples, const ContextShape& shape);

// Writes payloads.size() samples of `shape` to x, rounded to its type; values beyond a half type's range become its largest. x is
// aligned to its type, and written to even where a payload does not decode; what a payload claims takes no memory beside it but some
// lanes' rows. Payloads must not change meanwhile: what was checked is read again.
// The status of the first payload that does not decode.
Status feature_decode(const FeatureCoder& coder, std::span<const std::span<const std::uint8_t>> payloads, const ContextShape& shape,
                      MutableFloatSpan x);

// Of one payload the bits of what comes before its symbol stream, and of the table within that (coder.hpp); 0 where it sends none.
struct FeatureParts {
    std::uint64_t side_bits = 0;
    std::uint64_t table_bits = 0;
};
Status feature_parts(const FeatureCoder& coder, std::span<const std::uint8_t> payload, const ContextShape& shape, FeatureParts& parts);

// Adds the statistics of a batch that a static model is made of; false where feature_encode would name a bad sample.
struct FeatureCounts {
    std::uint32_t coded[256] = {};    // coded bytes (order0.hpp), symbols of at most 8 bits
    std::uint32_t symbols[256] = {};  // the symbols themselves
    ContextCounts near{};      // of either neighbourhood; gradient's where bits are at most 8
    ContextCounts gradient{};
};
bool feature_count(const FeatureCoder& coder, FloatSpan x, std::size_t samples, const ContextShape& shape, FeatureCounts& counts);

// The same from symbols below 2^bits, bits <= 8.
void feature_count_symbols(unsigned bits, std::span<const std::uint8_t> symbols, const ContextShape& shape, FeatureCounts& counts);

// The bits that a static model of this coder is made for.
unsigned static_bits(const FeatureCoder& coder) noexcept;

}  // namespace featcodec
