// The way back of one sample, believing no byte: stream, symbols, values. Nothing of a sample's size is made but its values.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "feature_parts.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

// The value at `one` everywhere.
void repeat(const std::uint8_t* one, MutableFloatSpan x) {
    const auto all = [&](auto word) {
        std::memcpy(&word, one, sizeof word);
        auto* const to = static_cast<std::uint8_t*>(x.data);
        for (std::size_t i = 0; i < x.count; ++i) std::memcpy(to + i * sizeof word, &word, sizeof word);
    };
    if (x.type == FloatType::float32) return all(std::uint32_t{});
    all(std::uint16_t{});
}

// What one symbol is dequantised to, everywhere.
void fill(MutableFloatSpan x, std::uint16_t symbol, const ValueRange& range, unsigned bits) {
    std::uint8_t one[sizeof(float)];
    dequantize(std::span<const std::uint16_t>(&symbol, 1), range.min, range.max, bits, {one, 1, x.type});
    repeat(one, x);
}

// A value, rounded to the type, everywhere.
void fill(MutableFloatSpan x, float value) { fill(x, 0, {value, value, true}, 1); }

// Symbols lie in the memory of the values, at its end: no wider than these, those yet to be read are not overtaken by values that are
// written from the front.
template <typename Symbol>
std::span<Symbol> symbols_in(MutableFloatSpan x, std::size_t count) {
    auto* const end = static_cast<std::uint8_t*>(x.data) + x.count * size_of(x.type);
    return {reinterpret_cast<Symbol*>(end - count * sizeof(Symbol)), count};
}

constexpr std::size_t kBlock = 1 << 14;  // symbols copied out of the way at a time

// Calls turn(symbols, values) for blocks of values, at most so many, whose symbols lie at or behind them.
template <typename Symbol, typename Turn>
void for_blocks(std::span<const Symbol> symbols, MutableFloatSpan x, std::size_t most, Turn turn) {
    struct Room {
        Symbol copy[kBlock];
    };
    for (std::size_t first = 0, count = 0; first < x.count; first += count) {
        const MutableFloatSpan rest = part(x, first, x.count - first);
        auto block = symbols.subspan(first);
        // values that overtake none of their symbols
        const auto apart = static_cast<std::size_t>(reinterpret_cast<const std::uint8_t*>(block.data()) - static_cast<std::uint8_t*>(rest.data)) /
                           size_of(x.type);
        count = std::min({rest.count, most, std::max(apart, kBlock)});
        block = block.first(count);
        if (count > apart) {
            Symbol* const copy = thread_room<Room>().copy;
            std::copy(block.begin(), block.end(), copy);
            block = {copy, count};
        }
        turn(block, part(rest, 0, count));
    }
}

// The ranges before the symbols, read where they are.
struct Ranges {
    const std::uint8_t* in = nullptr;
    std::size_t groups = 0;
    bool constant = false;    // no group varies, and the minima alone are there
    std::size_t varying = 0;  // groups

    ValueRange operator[](std::size_t g) const {
        float both[2];
        std::memcpy(both, in + g * (constant ? 4 : 8), constant ? 4 : 8);
        return {both[0], constant ? both[0] : both[1], true};
    }
};

// Checked; `in` becomes what follows: nothing where every group is constant.
Status read_ranges(std::size_t groups, std::span<const std::uint8_t>& in, Ranges& ranges) {
    if (in.size() != 4 * groups && in.size() <= 8 * groups) return Status::truncated;
    ranges = {in.data(), groups, in.size() == 4 * groups};
    for (std::size_t g = 0; g < groups; ++g) {
        const ValueRange range = ranges[g];
        if (!std::isfinite(range.min) || !std::isfinite(range.max) || order(range.min) > order(range.max)) return Status::bad_range;
        ranges.varying += varies(range);
    }
    if ((ranges.varying > 0) == ranges.constant) return Status::bad_range;
    in = ranges.constant ? std::span<const std::uint8_t>{} : in.subspan(8 * groups);
    return Status::ok;
}

// The shape of the symbols: those of the groups that vary.
ContextShape kept_of(const Ranges& ranges, const ContextShape& shape) {
    return {ranges.groups == 1 ? shape.maps : ranges.varying, shape.height, shape.width};
}

template <typename Symbol>
Status decode_groups(const FeatureCoder& coder, std::span<const std::uint8_t> in, const Ranges& ranges, const ContextShape& shape,
                     MutableFloatSpan x) {
    const std::size_t size = elements_of(shape) / ranges.groups;
    const ContextShape kept = kept_of(ranges, shape);
    if (const std::size_t wanted = packed_size(elements_of(kept), coder.bits); coder.family == Family::packed && in.size() != wanted) {
        return in.size() < wanted ? Status::truncated : Status::trailing;
    }
    std::uint16_t only = 0;
    const bool is_one = coder.family != Family::packed && coder_only_symbol(in, coder.bits, only);
    const auto symbols = symbols_in<Symbol>(x, is_one ? 0 : elements_of(kept));
    if (!is_one) {
        const Status status = coder_decode({coder.family, coder.bits, coder.model}, in, kept, symbols);
        if (status != Status::ok) return status;
    }
    std::span<const Symbol> left = symbols;
    for (std::size_t g = 0; g < ranges.groups; ++g) {
        const MutableFloatSpan to = part(x, g * size, size);
        const ValueRange range = ranges[g];
        if (!varies(range)) {
            fill(to, range.min);
        } else if (is_one) {
            fill(to, only, range, coder.bits);
        } else {
            for_blocks(left.first(size), to, SIZE_MAX, [&](std::span<const Symbol> block, MutableFloatSpan values) {
                dequantize(block, range.min, range.max, coder.bits, values);
            });
            left = left.subspan(size);
        }
    }
    return Status::ok;
}

Status decode_minmax(const FeatureCoder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, MutableFloatSpan x) {
    Ranges ranges;
    if (const Status status = read_ranges(coder.per_map ? shape.maps : 1, in, ranges); status != Status::ok) return status;
    if (in.empty()) {
        const std::size_t size = elements_of(shape) / ranges.groups;
        for (std::size_t g = 0; g < ranges.groups; ++g) fill(part(x, g * size, size), ranges[g].min);
        return Status::ok;
    }
    return coder.bits <= kByteBits ? decode_groups<std::uint8_t>(coder, in, ranges, shape, x)
                                   : decode_groups<std::uint16_t>(coder, in, ranges, shape, x);
}

// What comes before the symbols of a step quantizer.
struct StepHead {
    unsigned bits = 0;  // 1..16
    bool zigzagged = false;
    std::vector<std::uint32_t> gaps;         // of the escapes
    const std::uint8_t* escapes = nullptr;  // float32 each
};

// `in` becomes what follows.
Status read_step(std::span<const std::uint8_t>& in, StepHead& head) {
    if (in.empty()) return Status::truncated;
    const bool escaped = (in[0] & kEscapes) != 0;
    head.zigzagged = (in[0] & kZigzag) != 0;
    head.bits = in[0] & ~unsigned{kZigzag | kEscapes};
    if (head.bits < 1 || head.bits > kMaxSymbolBits) return Status::bad_range;
    in = in.subspan(1);
    if (!escaped) return Status::ok;
    std::uint32_t more = 0;
    std::size_t used = 0;
    if (const Status status = golomb_decode(in, {&more, 1}, used); status != Status::ok) return status;
    in = in.subspan(used);
    if (more >= in.size() / sizeof(float)) return Status::truncated;
    head.gaps.resize(std::size_t{more} + 1);
    if (const Status status = golomb_decode(in, head.gaps, used); status != Status::ok) return status;
    in = in.subspan(used);
    const std::size_t size = head.gaps.size() * sizeof(float);
    if (in.size() < size) return Status::truncated;
    head.escapes = in.data();
    in = in.subspan(size);
    return Status::ok;
}

// Escapes where they belong, in place of zeros.
Status place_escapes(const StepHead& head, float step, MutableFloatSpan x) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < head.gaps.size(); ++i, ++at) {
        float value = 0;
        std::int16_t whole = 0;
        std::memcpy(&value, head.escapes + i * sizeof value, sizeof value);
        if (head.gaps[i] >= x.count - at) return Status::bad_code;
        if (!std::isfinite(value) || quantize_step({&value, 1, FloatType::float32}, step, {&whole, 1}) == 0) return Status::bad_range;
        at += head.gaps[i];
        const MutableFloatSpan to = part(x, at, 1);
        const auto* const bytes = static_cast<const std::uint8_t*>(to.data);
        if (std::any_of(bytes, bytes + size_of(to.type), [](std::uint8_t byte) { return byte != 0; })) return Status::bad_code;
        fill(to, value);
    }
    return Status::ok;
}

// Symbols of at most kBlock to values; false where one has no int16.
template <typename Symbol>
bool step_values(std::span<const Symbol> symbols, bool zigzagged, float step, MutableFloatSpan x) {
    struct Room {
        std::uint16_t wide[kBlock];
        std::int16_t whole[kBlock];
    };
    auto& room = thread_room<Room>();
    const std::span<std::int16_t> whole(room.whole, symbols.size());
    if (zigzagged) {
        const std::span<std::uint16_t> wide(room.wide, symbols.size());
        std::copy(symbols.begin(), symbols.end(), wide.begin());
        unzigzag(wide, whole);
    } else {
        if (*std::max_element(symbols.begin(), symbols.end()) > INT16_MAX) return false;
        std::copy(symbols.begin(), symbols.end(), whole.begin());
    }
    dequantize_step(whole, step, x);
    return true;
}

template <typename Symbol>
Status decode_steps(const Coder& inner, float step, std::span<const std::uint8_t> in, bool zigzagged, const ContextShape& shape, MutableFloatSpan x) {
    if (std::uint16_t only = 0; inner.family != Family::packed && coder_only_symbol(in, inner.bits, only)) {
        std::uint8_t one[sizeof(float)];
        if (!step_values(std::span<const std::uint16_t>(&only, 1), zigzagged, step, {one, 1, x.type})) return Status::bad_range;
        repeat(one, x);
        return Status::ok;
    }
    const auto symbols = symbols_in<Symbol>(x, x.count);
    if (const Status status = coder_decode(inner, in, shape, symbols); status != Status::ok) return status;
    bool good = true;
    for_blocks(std::span<const Symbol>(symbols), x, kBlock, [&](std::span<const Symbol> block, MutableFloatSpan values) {
        good = good && step_values(block, zigzagged, step, values);
    });
    return good ? Status::ok : Status::bad_range;
}

Status decode_step(const FeatureCoder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, MutableFloatSpan x) {
    StepHead head;
    if (const Status status = read_step(in, head); status != Status::ok) return status;
    const Coder inner{coder.family, head.bits, coder.model};
    const Status status = head.bits <= kByteBits ? decode_steps<std::uint8_t>(inner, coder.step, in, head.zigzagged, shape, x)
                                                 : decode_steps<std::uint16_t>(inner, coder.step, in, head.zigzagged, shape, x);
    return status == Status::ok ? place_escapes(head, coder.step, x) : status;
}

}  // namespace

Status feature_decode(const FeatureCoder& coder, std::span<const std::span<const std::uint8_t>> payloads, const ContextShape& shape,
                      MutableFloatSpan x) {
    const std::size_t elements = elements_of(shape);
    std::vector<Status> statuses(payloads.size(), Status::ok);
    for_samples(payloads.size(), elements, [&](std::size_t i) {
        const MutableFloatSpan to = part(x, i * elements, elements);
        const TrimAtEnd trim;
        statuses[i] = coder.step > 0.0f ? decode_step(coder, payloads[i], shape, to) : decode_minmax(coder, payloads[i], shape, to);
    });
    const auto bad = std::find_if(statuses.begin(), statuses.end(), [](Status s) { return s != Status::ok; });
    return bad == statuses.end() ? Status::ok : *bad;
}

Status feature_parts(const FeatureCoder& coder, std::span<const std::uint8_t> payload, const ContextShape& shape, FeatureParts& parts) {
    parts = {};
    std::span<const std::uint8_t> in = payload;
    unsigned bits = coder.bits;
    ContextShape kept = shape;
    if (coder.step > 0.0f) {
        StepHead head;
        if (const Status status = read_step(in, head); status != Status::ok) return status;
        bits = head.bits;
    } else {
        Ranges ranges;
        if (const Status status = read_ranges(coder.per_map ? shape.maps : 1, in, ranges); status != Status::ok) return status;
        kept = kept_of(ranges, shape);
    }
    const bool constant = coder.step == 0.0f && in.empty();
    parts.side_bits = 8 * std::uint64_t{constant ? payload.size() : payload.size() - in.size()};
    return constant || coder.family == Family::packed ? Status::ok : coder_table_bits(in, kept, bits, parts.table_bits);
}

}  // namespace featcodec
