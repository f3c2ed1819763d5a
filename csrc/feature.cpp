// The way of one sample: ranges, symbols, stream; and back, believing no byte.
#include "feature.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "threads.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kInlineSymbols = 1 << 15;  // a batch below this is not worth waking threads for
constexpr unsigned kByteBits = 8;

template <typename Symbol>
std::vector<Symbol>& scratch() {
    thread_local std::vector<Symbol> symbols;
    return symbols;
}

std::size_t size_of(FloatType type) { return type == FloatType::float32 ? sizeof(float) : sizeof(std::uint16_t); }

FloatSpan part(FloatSpan x, std::size_t first, std::size_t count) {
    return {static_cast<const std::uint8_t*>(x.data) + first * size_of(x.type), count, x.type};
}

MutableFloatSpan part(MutableFloatSpan x, std::size_t first, std::size_t count) {
    return {static_cast<std::uint8_t*>(x.data) + first * size_of(x.type), count, x.type};
}

// `value` everywhere: one value through the dequantizer, which rounds it to the type, then copies.
void fill(MutableFloatSpan x, float value) {
    const std::uint8_t symbol = 0;
    const std::size_t size = size_of(x.type);
    std::uint8_t one[sizeof(float)];
    dequantize(std::span<const std::uint8_t>(&symbol, 1), value, value, 1, {one, 1, x.type});
    auto* const to = static_cast<std::uint8_t*>(x.data);
    for (std::size_t i = 0; i < x.count; ++i) std::memcpy(to + i * size, one, size);
}

// Floats in order as integers: comparing floats would take subnormals for zero where the calling thread flushes them.
std::int32_t order(float value) {
    const auto bits = std::bit_cast<std::int32_t>(value);
    return bits < 0 ? INT32_MIN - bits : bits;
}

bool varies(const ValueRange& range) { return order(range.min) < order(range.max); }

std::size_t elements_of(const ContextShape& shape) { return shape.maps * shape.height * shape.width; }

// What is sent for a group.
ValueRange group_range(const FeatureCoder& coder, FloatSpan x) {
    const ValueRange range = value_range(x);
    return coder.zero_level && range.finite && varies(range) ? zero_level_range(range, coder.bits) : range;
}

// Floats are sent little-endian; every host of ours is.
static_assert(std::endian::native == std::endian::little);

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
    thread_local std::vector<std::uint8_t> stream;
    if (const std::size_t bound = coder_bound(shape, coder.bits); stream.size() < bound) stream.resize(bound);
    const std::size_t size = coder_encode(coder, symbols, shape, stream);
    payload.resize(prefix);
    payload.insert(payload.end(), stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size));
}

template <typename Symbol>
void encode_groups(const FeatureCoder& coder, FloatSpan x, std::span<const ValueRange> ranges, const ContextShape& shape,
                   std::size_t prefix, std::vector<std::uint8_t>& payload) {
    const std::size_t size = elements_of(shape) / ranges.size();
    auto& symbols = scratch<Symbol>();
    symbols.resize(elements_of(shape));
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

enum class Taken : std::uint8_t { yes, not_finite, outside };

Taken encode_minmax(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, std::vector<std::uint8_t>& payload) {
    const std::size_t groups = coder.per_map ? shape.maps : 1;
    const std::size_t size = elements_of(shape) / groups;
    thread_local std::vector<ValueRange> ranges;
    ranges.resize(groups);
    bool any_varies = false;
    for (std::size_t g = 0; g < groups; ++g) {
        ranges[g] = group_range(coder, part(x, g * size, size));
        if (!ranges[g].finite) return Taken::not_finite;
        any_varies = any_varies || varies(ranges[g]);
    }
    payload.resize(groups * (any_varies ? 8 : 4));
    for (std::size_t g = 0; g < groups; ++g) {
        const float both[2] = {ranges[g].min, ranges[g].max};
        put_floats(both, any_varies ? 2 : 1, payload.data() + g * (any_varies ? 8 : 4));
    }
    if (!any_varies) return Taken::yes;
    const std::size_t prefix = payload.size();
    if (coder.bits <= kByteBits) {
        encode_groups<std::uint8_t>(coder, x, ranges, shape, prefix, payload);
    } else {
        encode_groups<std::uint16_t>(coder, x, ranges, shape, prefix, payload);
    }
    return Taken::yes;
}

// The bits that code symbols up to `largest`; those of the static model where there is one and they suffice.
unsigned step_bits(const FeatureCoder& coder, std::uint16_t largest) {
    const auto needed = static_cast<unsigned>(std::max(1, static_cast<int>(std::bit_width(largest))));
    return coder.model != nullptr && needed <= coder.model->bits ? coder.model->bits : needed;
}

// q = rint(x / step), zigzagged, or as it is with what is negative made 0; `largest` of the symbols. False where a q has no int16.
bool step_symbols(const FeatureCoder& coder, FloatSpan x, bool zigzagged, std::vector<std::uint16_t>& symbols, std::uint16_t& largest) {
    auto& whole = scratch<std::int16_t>();
    whole.resize(x.count);
    symbols.resize(x.count);
    if (quantize_step(x, coder.step, whole) != 0) return false;
    if (zigzagged) {
        zigzag(whole, symbols);
    } else {
        std::transform(whole.begin(), whole.end(), symbols.begin(), [](std::int16_t q) { return static_cast<std::uint16_t>(q < 0 ? 0 : q); });
    }
    largest = *std::max_element(symbols.begin(), symbols.end());
    return true;
}

Taken encode_step(const FeatureCoder& coder, FloatSpan x, const ContextShape& shape, std::vector<std::uint8_t>& payload) {
    const std::size_t size = elements_of(shape);
    auto& wide = scratch<std::uint16_t>();
    wide.resize(size);
    const ValueRange range = value_range(x);
    if (!range.finite) return Taken::not_finite;
    // Features without negative values need no sign: zigzag would leave every odd symbol unused.
    const bool zigzagged = std::signbit(range.min) || (coder.model != nullptr && coder.zigzag);
    std::uint16_t largest = 0;
    if (!step_symbols(coder, x, zigzagged, wide, largest)) return Taken::outside;
    const Coder inner{coder.family, step_bits(coder, largest), coder.model};
    payload.assign(1, static_cast<std::uint8_t>(inner.bits | (zigzagged ? kZigzag : 0u)));
    if (inner.bits > kByteBits) {
        append_stream<std::uint16_t>(inner, wide, shape, 1, payload);
    } else {
        auto& narrow = scratch<std::uint8_t>();
        narrow.assign(wide.begin(), wide.end());
        append_stream<std::uint8_t>(inner, narrow, shape, 1, payload);
    }
    return Taken::yes;
}

// The shape of the symbols: those of the groups that vary.
ContextShape kept_of(std::span<const ValueRange> ranges, const ContextShape& shape) {
    if (ranges.size() == 1) return {shape.maps, shape.height, shape.width};
    const auto varying = std::count_if(ranges.begin(), ranges.end(), [](const ValueRange& range) { return varies(range); });
    return {static_cast<std::size_t>(varying), shape.height, shape.width};
}

template <typename Symbol>
Status decode_groups(const FeatureCoder& coder, std::span<const std::uint8_t> in, std::span<const ValueRange> ranges, const ContextShape& shape,
                     MutableFloatSpan x) {
    const std::size_t size = elements_of(shape) / ranges.size();
    const ContextShape kept = kept_of(ranges, shape);
    if (const std::size_t wanted = packed_size(elements_of(kept), coder.bits); coder.family == Family::packed && in.size() != wanted) {
        return in.size() < wanted ? Status::truncated : Status::trailing;  // before memory for them
    }
    auto& symbols = scratch<Symbol>();
    symbols.resize(elements_of(kept));
    const Status status = coder_decode({coder.family, coder.bits, coder.model}, in, kept, std::span<Symbol>(symbols));
    if (status != Status::ok) return status;
    const Symbol* from = symbols.data();
    for (std::size_t g = 0; g < ranges.size(); ++g) {
        const MutableFloatSpan to = part(x, g * size, size);
        if (varies(ranges[g])) {
            dequantize(std::span<const Symbol>(from, size), ranges[g].min, ranges[g].max, coder.bits, to);
            from += size;
        } else {
            fill(to, ranges[g].min);
        }
    }
    return Status::ok;
}

// The ranges before the symbols; `in` becomes what follows: nothing where every group is constant.
Status read_ranges(std::span<ValueRange> ranges, std::span<const std::uint8_t>& in) {
    const std::size_t groups = ranges.size();
    if (in.size() != 4 * groups && in.size() <= 8 * groups) return Status::truncated;
    const bool constant = in.size() == 4 * groups;
    bool any_varies = false;
    for (std::size_t g = 0; g < groups; ++g) {
        float both[2];
        std::memcpy(both, in.data() + g * (constant ? 4 : 8), constant ? 4 : 8);
        ranges[g] = {both[0], constant ? both[0] : both[1], true};
        if (!std::isfinite(ranges[g].min) || !std::isfinite(ranges[g].max) || order(ranges[g].min) > order(ranges[g].max)) return Status::bad_range;
        any_varies = any_varies || varies(ranges[g]);
    }
    if (any_varies == constant) return Status::bad_range;
    in = constant ? std::span<const std::uint8_t>{} : in.subspan(8 * groups);
    return Status::ok;
}

Status decode_minmax(const FeatureCoder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, MutableFloatSpan x) {
    const std::size_t groups = coder.per_map ? shape.maps : 1;
    thread_local std::vector<ValueRange> ranges;
    ranges.resize(groups);
    if (const Status status = read_ranges(ranges, in); status != Status::ok) return status;
    if (in.empty()) {
        const std::size_t size = elements_of(shape) / groups;
        for (std::size_t g = 0; g < groups; ++g) fill(part(x, g * size, size), ranges[g].min);
        return Status::ok;
    }
    return coder.bits <= kByteBits ? decode_groups<std::uint8_t>(coder, in, ranges, shape, x)
                                   : decode_groups<std::uint16_t>(coder, in, ranges, shape, x);
}

// The step quantizer's byte: bits 1..16.
Status read_step(std::span<const std::uint8_t> in, unsigned& bits, bool& zigzagged) {
    if (in.empty()) return Status::truncated;
    zigzagged = (in[0] & kZigzag) != 0;
    bits = in[0] & ~unsigned{kZigzag};
    return bits < 1 || bits > kMaxSymbolBits ? Status::bad_range : Status::ok;
}

Status decode_step(const FeatureCoder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, MutableFloatSpan x) {
    bool zigzagged = false;
    unsigned bits = 0;
    if (const Status status = read_step(in, bits, zigzagged); status != Status::ok) return status;
    const Coder inner{coder.family, bits, coder.model};
    const std::size_t size = elements_of(shape);
    auto& wide = scratch<std::uint16_t>();
    wide.resize(size);
    if (bits > kByteBits) {
        if (const Status status = coder_decode(inner, in.subspan(1), shape, std::span<std::uint16_t>(wide)); status != Status::ok) return status;
    } else {
        auto& narrow = scratch<std::uint8_t>();
        narrow.resize(size);
        if (const Status status = coder_decode(inner, in.subspan(1), shape, std::span<std::uint8_t>(narrow)); status != Status::ok) return status;
        std::copy(narrow.begin(), narrow.end(), wide.begin());
    }
    auto& whole = scratch<std::int16_t>();
    whole.resize(size);
    if (zigzagged) {
        unzigzag(wide, whole);
    } else {
        if (*std::max_element(wide.begin(), wide.end()) > INT16_MAX) return Status::bad_range;
        std::copy(wide.begin(), wide.end(), whole.begin());
    }
    dequantize_step(whole, coder.step, x);
    return Status::ok;
}

template <typename Task>
void for_samples(std::size_t samples, std::size_t elements, const Task& task) {
    if (samples < 2 || samples * elements < kInlineSymbols) {
        for (std::size_t i = 0; i < samples; ++i) task(i);
        return;
    }
    parallel_for(samples, task);
}

void lower(std::atomic<std::size_t>& first, std::size_t index) {
    std::size_t seen = first.load();
    while (index < seen && !first.compare_exchange_weak(seen, index)) {
    }
}

void feature_count_symbols(unsigned bits, std::span<const std::uint16_t> symbols, const ContextShape& shape, FeatureCounts& counts) {
    context_count(context_kernels(current_isa()), symbols, shape, bits, Neighbourhood::near, counts.near);
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
    if (!value_range(x).finite || !step_symbols(coder, x, coder.zigzag, wide, largest)) return false;
    // A sample with wider symbols is coded with a table of its own, and says nothing about the static one.
    if (largest > 255) return true;
    const std::vector<std::uint8_t> narrow(wide.begin(), wide.end());
    feature_count_symbols(kByteBits, std::span<const std::uint8_t>(narrow), shape, counts);
    return true;
}

}  // namespace

void feature_count_symbols(unsigned bits, std::span<const std::uint8_t> symbols, const ContextShape& shape, FeatureCounts& counts) {
    ByteCounts coded;
    histogram_coded(order0_kernels(current_isa()), symbols, bits, coded);
    for (unsigned i = 0; i < 256; ++i) counts.coded[i] += coded[i];
    for (const std::uint8_t symbol : symbols) ++counts.symbols[symbol];
    context_count(context_kernels(current_isa()), symbols, shape, bits, Neighbourhood::near, counts.near);
    context_count(context_kernels(current_isa()), symbols, shape, bits, Neighbourhood::gradient, counts.gradient);
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
    std::atomic<std::size_t> outside{kNoSample};
    for_samples(samples, elements, [&](std::size_t i) {
        const FloatSpan from = part(x, i * elements, elements);
        auto& payload = result.payloads[i];
        const Taken taken = coder.step > 0.0f ? encode_step(coder, from, shape, payload) : encode_minmax(coder, from, shape, payload);
        if (taken != Taken::yes) lower(taken == Taken::outside ? outside : not_finite, i);
    });
    result.not_finite = not_finite;
    result.outside = outside;
    return result;
}

Status feature_decode(const FeatureCoder& coder, std::span<const std::span<const std::uint8_t>> payloads, const ContextShape& shape,
                      MutableFloatSpan x) {
    const std::size_t elements = elements_of(shape);
    std::vector<Status> statuses(payloads.size(), Status::ok);
    for_samples(payloads.size(), elements, [&](std::size_t i) {
        const MutableFloatSpan to = part(x, i * elements, elements);
        statuses[i] = coder.step > 0.0f ? decode_step(coder, payloads[i], shape, to) : decode_minmax(coder, payloads[i], shape, to);
    });
    const auto bad = std::find_if(statuses.begin(), statuses.end(), [](Status s) { return s != Status::ok; });
    return bad == statuses.end() ? Status::ok : *bad;
}

Status feature_table_bits(const FeatureCoder& coder, std::span<const std::uint8_t> payload, const ContextShape& shape, std::uint64_t& table_bits) {
    table_bits = 0;
    if (coder.step > 0.0f) {
        bool zigzagged = false;
        unsigned bits = 0;
        const Status status = read_step(payload, bits, zigzagged);
        return status != Status::ok || coder.family == Family::packed ? status : coder_table_bits(payload.subspan(1), shape, bits, table_bits);
    }
    std::vector<ValueRange> ranges(coder.per_map ? shape.maps : 1);
    const Status status = read_ranges(ranges, payload);
    return status != Status::ok || payload.empty() || coder.family == Family::packed ? status : coder_table_bits(payload, kept_of(ranges, shape), coder.bits, table_bits);
}

}  // namespace featcodec
