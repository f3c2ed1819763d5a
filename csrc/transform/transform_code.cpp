#include "transform_code.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace featcodec {
namespace {

constexpr std::uint64_t kEscape = kTransformEntries - 1;
constexpr unsigned kMostZeros = 24;  // of an escape
constexpr unsigned kCellShift = 7;   // between components and what the inverse matrices take
constexpr std::int64_t kMostMiddle = (std::int64_t{1} << 31) - 1;  // of a cell
// A symbol of 16 bits, 49 of an escape and low bits (fewer digits the more of these) or 30 low bits, and the sign: 66 bits and what
// rounding costs, below 2^-20 of them.
constexpr std::size_t kMostBytes = 9;
constexpr std::size_t kEndBytes = 8;

constexpr int kMostRelative = 16;  // of a table; above it the low bits are sent raw
constexpr int kMostMovedRelative = 255;
constexpr int kDriftBits = 8;
constexpr int kForgetting = 7;                       // a 128th of what it moved is taken back at each integer
constexpr std::int32_t kMostDrift = 64 << kDriftBits;  // 8 octaves

struct Scales {
    TransformDrift::Scale of[kMostMovedRelative - kLeastRelative + 1];  // a relative class less the least
    constexpr Scales() : of() {
        for (int relative = kLeastRelative; relative <= kMostMovedRelative; ++relative) {
            const int low_bits = relative > kMostRelative ? (relative - kMostRelative + 7) / 8 : 0;
            of[relative - kLeastRelative] = {static_cast<std::uint8_t>(relative - 8 * low_bits - kLeastRelative), static_cast<std::uint8_t>(low_bits)};
        }
    }
};
constexpr Scales kScales;

struct Step {
    std::int64_t size;
    std::int64_t most;  // integers have no larger magnitude
};

struct Steps {
    Step at[kMostLevel + 1];
    Steps() noexcept {
        for (unsigned level = 0; level <= kMostLevel; ++level) at[level] = {transform_step(level), kMostMiddle / transform_step(level)};
    }
};

const Step& step_of(unsigned level) noexcept {
    static const Steps steps;
    return steps.at[level];
}

// The integer of a component's cell, without its sign. A component is at most 61440 * 2^15 and a step 2^26: below step.most.
std::uint64_t cell_of(std::int32_t component, const Step& step) noexcept {
    const auto twice = 2 * static_cast<std::uint64_t>(std::abs(std::int64_t{component})), size = static_cast<std::uint64_t>(step.size);
    return twice < size ? 0 : (twice + size) / (2 * size);
}

void put(ArithmeticEncoder& encoder, TransformDrift& drift, int relative, std::uint64_t size, bool negative) noexcept {
    const TransformDrift::Scale scale = drift.scale(relative);
    const auto& starts = drift.table(scale).starts;
    const std::uint64_t high = size >> scale.low_bits;
    const std::uint64_t entry = std::min(high, kEscape);
    encoder.put(starts[entry], starts[entry + 1] - starts[entry]);
    if (entry == kEscape) encoder.put_golomb(high - kEscape + 1);
    encoder.put_bits(size, scale.low_bits);
    if (size != 0) encoder.put_bit(negative ? 1 : 0);
    drift.move(scale, entry);
}

// The integer, without its sign.
bool get(ArithmeticDecoder& decoder, TransformDrift& drift, int relative, std::uint64_t& size) noexcept {
    const TransformDrift::Scale scale = drift.scale(relative);
    std::size_t entry = 0;
    if (!decoder.get(drift.table(scale).starts.data(), kTransformEntries, entry)) return false;
    drift.move(scale, entry);
    size = entry;
    if (entry == kEscape) {
        std::uint64_t more = 0;
        if (!decoder.get_golomb(kMostZeros, more)) return false;
        size += more - 1;
    }
    return decoder.get_bits(size, scale.low_bits);
}

}  // namespace

TransformDrift::Scale TransformDrift::scale(int relative) const noexcept {
    const int moved = relative + ((moved_ + (1 << (kDriftBits - 1))) >> kDriftBits);
    return kScales.of[std::clamp(moved, kLeastRelative, kMostMovedRelative) - kLeastRelative];
}

void TransformDrift::move(Scale scale, std::size_t entry) noexcept {
    moved_ = std::clamp(moved_ + tables_[scale.table].drift[entry] - (moved_ >> kForgetting), -kMostDrift, kMostDrift);
}

std::int16_t cell_middle(std::int64_t integer, std::int64_t step) noexcept {
    const std::int64_t rounded = (integer * step + (1 << (kCellShift - 1))) >> kCellShift;
    return static_cast<std::int16_t>(std::clamp<std::int64_t>(rounded, INT16_MIN, INT16_MAX));
}

TransformCode::TransformCode(const TransformParts& parts, const TransformPlan& plan)
    : plan_(plan),
      size_(kMostBytes * plan.coded.size() + kEndBytes),
      bytes_(std::make_unique_for_overwrite<std::uint8_t[]>(size_)),
      drift_(parts),
      encoder_(bytes_.get()) {}

void TransformCode::make_room(std::size_t more) {
    const std::size_t wanted = encoder_.size() + more;
    if (wanted <= size_) return;
    size_ = std::max(wanted, 2 * size_);
    auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(size_);
    std::memcpy(larger.get(), bytes_.get(), encoder_.size());
    encoder_.move_to(larger.get());
    bytes_ = std::move(larger);
}

void TransformCode::put_block(const std::int32_t* components) {
    make_room(kMostBytes * plan_.coded.size() + kEndBytes);
    for (const CodedPlace& place : plan_.coded) {
        const std::int32_t component = components[place.at];
        const std::uint64_t size = cell_of(component, step_of(place.level));
        put(encoder_, drift_, place.relative, size, component < 0);
    }
}

std::span<const std::uint8_t> TransformCode::finish() noexcept {
    const std::size_t size = encoder_.finish();
    return {bytes_.get(), size};
}

bool get_block(const TransformPlan& plan, TransformDrift& drift, ArithmeticDecoder& decoder, std::int16_t* components) noexcept {
    for (const CodedPlace& place : plan.coded) {
        std::uint64_t size = 0;
        if (!get(decoder, drift, place.relative, size)) return false;
        if (size == 0) continue;
        const Step& step = step_of(place.level);
        std::uint64_t negative = 0;
        if (!decoder.get_bit(negative) || size > static_cast<std::uint64_t>(step.most)) return false;
        const auto integer = static_cast<std::int64_t>(size);
        components[place.at] = cell_middle(negative != 0 ? -integer : integer, step.size);
    }
    return true;
}

void tally_block(const TransformPlan& plan, TransformDrift& drift, const std::int32_t* components, std::int64_t* counts) noexcept {
    for (const CodedPlace& place : plan.coded) {
        const std::uint64_t size = cell_of(components[place.place], step_of(place.level));
        const TransformDrift::Scale scale = drift.scale(place.relative);
        const std::uint64_t entry = std::min(size >> scale.low_bits, kEscape);
        ++counts[scale.table * kTransformEntries + entry];
        drift.move(scale, entry);
    }
}

}  // namespace featcodec
