// The way of one sample: ranges, symbols, stream.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "feature_parts.hpp"
#include "kernels.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

// So many symbols of this thread's own.
template <typename Symbol>
std::span<Symbol> scratch(std::size_t count) {
    thread_local Buffer<Symbol> symbols;
    return {symbols.get(count), count};
}

// What is sent for a group.
ValueRange group_range(const FeatureCoder& coder, FloatSpan x) {
    const ValueRange range = value_range(x);
    return coder.zero_level && range.finite && varies(range) ? zero_level_range(range, coder.bits) : range;
}

void put_floats(const float* values, std::size_t count, std::uint8_t* out) { std::memcpy(out, values, count * sizeof(float)); }

template <typename Symbol>
void append_stream(const Coder& coder, std::span<const Symbol> symbols, const ContextShape& shape, std::size_t prefix,
                   std::vector<std::uint8_t>& payload) {
    if (coder.family == Family::packed) {
        payload.resize(prefix + packed_size(symbols.size(), coder.bits));
        coder_encode(coder, symbols, shape, std::span(payload).subspan(prefix));
        return;
    }
    // The bound is many times the stream: into memory that is there already, then a copy of what it took.
    const std::size_t bound = coder_bound(shape, coder.bits);
    thread_local Buffer<std::uint8_t> buffer;
    const std::span<std::uint8_t> stream(buffer.get(bound), bound);
    const std::size_t size = coder_encode(coder, symbols, shape, stream);
    payload.resize(prefix);
    payload.insert(payload.end(), stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size));
}

template <typename Symbol>
void encode_groups(const FeatureCoder& coder, FloatSpan x, std::span<const ValueRange> ranges, const ContextShape& shape,
                   std::size_t prefix, std::vector<std::uint8_t>& payload) {
    const std::size_t size = elements_of(shape) / ranges.size();
    const auto symbols = scratch<Symbol>(elements_of(shape));
    std::size_t varying = 0;
    for (std::size_t g = 0; g < ranges.size(); ++g) {
        if (!varies(ranges[g])) continue;
        const std::span<Symbol> to(symbols.data() + varying * size, size);
        quantize(part(x, g * size, size), ranges[g].min, ranges[g].max, coder.bits, to);
        ++varying;
    }
    const ContextShape kept{ranges.size() == 1 ? shape.maps : varying, shape.height, shape.width};
    append_stream<Symbol>({coder.family, coder.bits, coder.model}, std::span<const Symbol>(symbols.data(), varying * size), kept, prefix, payload);
}

// False where a value is not finite.
bool encode_minmax(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, std::vector<std::uint8_t>& payload) {
    const std::size_t groups = coder.per_map ? shape.maps : 1;
    const std::size_t size = elements_of(shape) / groups;
    const auto ranges = scratch<ValueRange>(groups);
    bool any_varies = false;
    for (std::size_t g = 0; g < groups; ++g) {
        ranges[g] = group_range(coder, part(x, g * size, size));
        if (!ranges[g].finite) return false;
        any_varies = any_varies || varies(ranges[g]);
    }
    payload.resize(groups * (any_varies ? 8 : 4));
    for (std::size_t g = 0; g < groups; ++g) {
        const float both[2] = {ranges[g].min, ranges[g].max};
        put_floats(both, any_varies ? 2 : 1, payload.data() + g * (any_varies ? 8 : 4));
    }
    if (!any_varies) return true;
    const std::size_t prefix = payload.size();
    if (coder.bits <= kByteBits) {
        encode_groups<std::uint8_t>(coder, x, ranges, shape, prefix, payload);
    } else {
        encode_groups<std::uint16_t>(coder, x, ranges, shape, prefix, payload);
    }
    return true;
}

// The bits that code symbols up to `largest`; those of the static model where there is one and they suffice.
unsigned step_bits(const FeatureCoder& coder, std::uint16_t largest) {
    const auto needed = static_cast<unsigned>(std::max(1, static_cast<int>(std::bit_width(largest))));
    return coder.model != nullptr && needed <= coder.model->bits ? coder.model->bits : needed;
}

// Values whose q has no int16: how many others lie before each, and themselves.
struct Escapes {
    std::vector<std::uint32_t> gaps;
    std::vector<float> values;
};

// Takes them out of symbols that are saturated: 0 is there instead.
void take_escapes(FloatSpan x, float step, std::span<std::int16_t> whole, Escapes& escapes) {
    std::size_t next = 0;
    for (std::size_t i = 0; i < x.count; ++i) {
        if (whole[i] != INT16_MIN && whole[i] != INT16_MAX) continue;
        if (quantize_step(part(x, i, 1), step, whole.subspan(i, 1)) == 0) continue;
        whole[i] = 0;
        escapes.gaps.push_back(static_cast<std::uint32_t>(i - next));
        escapes.values.push_back(value_range(part(x, i, 1)).min);
        next = i + 1;
    }
}

void append_escapes(const Escapes& escapes, std::vector<std::uint8_t>& payload) {
    const auto append = [&](std::span<const std::uint32_t> values) {
        const std::size_t at = payload.size();
        payload.resize(at + golomb_bound(values.size()));
        payload.resize(at + golomb_encode(values, std::span(payload).subspan(at)));
    };
    const auto more = static_cast<std::uint32_t>(escapes.gaps.size() - 1);
    append({&more, 1});
    append(escapes.gaps);
    const std::size_t at = payload.size();
    payload.resize(at + escapes.values.size() * sizeof(float));
    put_floats(escapes.values.data(), escapes.values.size(), payload.data() + at);
}

// q = rint(x / step), zigzagged, or as it is with what is negative made 0; `largest` of the symbols.
void step_symbols(const FeatureCoder& coder, FloatSpan x, bool zigzagged, std::span<std::uint16_t> symbols, std::uint16_t& largest,
                  Escapes& escapes) {
    const auto whole = scratch<std::int16_t>(x.count);
    if (quantize_step(x, coder.step, whole) != 0) take_escapes(x, coder.step, whole, escapes);
    if (zigzagged) {
        zigzag(whole, symbols);
    } else {
        std::transform(whole.begin(), whole.end(), symbols.begin(), [](std::int16_t q) { return static_cast<std::uint16_t>(q < 0 ? 0 : q); });
    }
    largest = *std::max_element(symbols.begin(), symbols.end());
}

bool encode_step(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, std::vector<std::uint8_t>& payload) {
    const std::size_t size = elements_of(shape);
    const auto wide = scratch<std::uint16_t>(size);
    const ValueRange range = value_range(x);
    if (!range.finite) return false;
    // Features without negative values need no sign: zigzag would leave every odd symbol unused.
    const bool zigzagged = std::signbit(range.min) || (coder.model != nullptr && coder.zigzag);
    std::uint16_t largest = 0;
    Escapes escapes;
    step_symbols(coder, x, zigzagged, wide, largest, escapes);
    const bool escaped = !escapes.gaps.empty();
    const Coder inner{coder.family, step_bits(coder, largest), coder.model};
    payload.assign(1, static_cast<std::uint8_t>(inner.bits | (zigzagged ? kZigzag : 0u) | (escaped ? kEscapes : 0u)));
    if (escaped) append_escapes(escapes, payload);
    if (inner.bits > kByteBits) {
        append_stream<std::uint16_t>(inner, wide, shape, payload.size(), payload);
    } else {
        const auto narrow = scratch<std::uint8_t>(size);
        std::copy(wide.begin(), wide.end(), narrow.begin());
        append_stream<std::uint8_t>(inner, narrow, shape, payload.size(), payload);
    }
    return true;
}

void lower(std::atomic<std::size_t>& first, std::size_t index) {
    std::size_t seen = first.load();
    while (index < seen && !first.compare_exchange_weak(seen, index)) {
    }
}

void feature_count_symbols(unsigned bits, std::span<const std::uint16_t> symbols, const ContextShape& shape, FeatureCounts& counts) {
    context_count(current_kernels().context, symbols, shape, bits, Neighbourhood::near, counts.near);
}

template <typename Symbol>
bool count_minmax(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, FeatureCounts& counts) {
    const std::size_t groups = coder.per_map ? shape.maps : 1;
    const std::size_t size = elements_of(shape) / groups;
    std::vector<Symbol> symbols(size);
    const ContextShape group{coder.per_map ? 1 : shape.maps, shape.height, shape.width};
    for (std::size_t g = 0; g < groups; ++g) {
        const FloatSpan from = part(x, g * size, size);
        const ValueRange range = group_range(coder, from);
        if (!range.finite) return false;
        if (!varies(range)) continue;
        quantize(from, range.min, range.max, coder.bits, std::span<Symbol>(symbols));
        feature_count_symbols(coder.bits, std::span<const Symbol>(symbols), group, counts);
    }
    return true;
}

bool count_step(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, FeatureCounts& counts) {
    const std::size_t size = elements_of(shape);
    std::vector<std::uint16_t> wide(size);
    std::uint16_t largest = 0;
    if (!value_range(x).finite) return false;
    Escapes escapes;
    step_symbols(coder, x, coder.zigzag, wide, largest, escapes);
    // A sample with wider symbols is coded with a table of its own, and says nothing about the static one.
    if (largest > 255) return true;
    const std::vector<std::uint8_t> narrow(wide.begin(), wide.end());
    feature_count_symbols(kByteBits, std::span<const std::uint8_t>(narrow), shape, counts);
    return true;
}

}  // namespace

void feature_count_symbols(unsigned bits, std::span<const std::uint8_t> symbols, const ContextShape& shape, FeatureCounts& counts) {
    ByteCounts coded;
    histogram_coded(current_kernels().order0, symbols, bits, coded);
    for (unsigned i = 0; i < 256; ++i) counts.coded[i] += coded[i];
    for (const std::uint8_t symbol : symbols) ++counts.symbols[symbol];
    context_count(current_kernels().context, symbols, shape, bits, Neighbourhood::near, counts.near);
    context_count(current_kernels().context, symbols, shape, bits, Neighbourhood::gradient, counts.gradient);
}

bool feature_count(const FeatureCoder& coder, FloatSpan x, std::size_t samples, const ContextShape& shape, FeatureCounts& counts) {
    const std::size_t elements = elements_of(shape);
    for (std::size_t i = 0; i < samples; ++i) {
        const FloatSpan from = part(x, i * elements, elements);
        const bool good = coder.step > 0.0f      ? count_step(coder, from, shape, counts)
                          : coder.bits <= kByteBits ? count_minmax<std::uint8_t>(coder, from, shape, counts)
                                                    : count_minmax<std::uint16_t>(coder, from, shape, counts);
        if (!good) return false;
    }
    return true;
}

unsigned static_bits(const FeatureCoder& coder) noexcept {
    return coder.step > 0.0f ? kByteBits : coder.bits;
}

Encoded feature_encode(const FeatureCoder& coder, FloatSpan x, std::size_t samples, const ContextShape& shape) {
    const std::size_t elements = elements_of(shape);
    Encoded result;
    result.payloads.resize(samples);
    std::atomic<std::size_t> not_finite{kNoSample};
    for_samples(samples, elements, [&](std::size_t i) {
        const FloatSpan from = part(x, i * elements, elements);
        auto& payload = result.payloads[i];
        const TrimAtEnd trim;
        const bool finite = coder.step > 0.0f ? encode_step(coder, from, shape, payload) : encode_minmax(coder, from, shape, payload);
        if (!finite) lower(not_finite, i);
    });
    result.not_finite = not_finite;
    return result;
}

}  // namespace featcodec
