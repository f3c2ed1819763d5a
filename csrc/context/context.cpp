// Context coder: the public functions and the order of the sections; context_lanes.cpp codes the tokens.
#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "bits.hpp"
#include "context_internal.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kSplitPart = std::size_t{1} << 15;  // symbols that threads take at a time

std::size_t symbol_count(const ContextShape& shape) {
    std::size_t count = 0;
    if (__builtin_mul_overflow(shape.maps, shape.height, &count) || __builtin_mul_overflow(count, shape.width, &count)) {
        throw std::invalid_argument("a shape beyond the address space");
    }
    return count;
}

struct Workspace {
    Buffer<std::uint8_t> tokens;
    Buffer<std::uint8_t> raw;
    Buffer<std::uint8_t> raw_part;
};

Workspace& workspace() {
    thread_local Workspace instance;
    return instance;
}

// ---- what differs between the symbol types ----------------------------------------------------------------------------------
std::uint64_t split_symbols(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const TokenClasses& classes,
                            std::uint8_t* tokens, std::uint8_t* raw) {
    return kernels.split(symbols.data(), symbols.size(), classes, tokens, raw);
}
std::uint64_t split_symbols(const ContextKernels&, std::span<const std::uint16_t> symbols, const TokenClasses& classes,
                            std::uint8_t* tokens, std::uint8_t* raw) {
    return context_split_wide(symbols.data(), symbols.size(), classes, tokens, raw);
}

// The tokens themselves where no class has extra bits.
const std::uint8_t* as_tokens(std::span<const std::uint8_t> symbols) { return symbols.data(); }
const std::uint8_t* as_tokens(std::span<const std::uint16_t> symbols) {
    std::uint8_t* tokens = workspace().tokens.get(symbols.size());
    for (std::size_t i = 0; i < symbols.size(); ++i) tokens[i] = static_cast<std::uint8_t>(symbols[i]);
    return tokens;
}

std::uint8_t* token_target(std::span<std::uint8_t> symbols) { return symbols.data(); }
std::uint8_t* token_target(std::span<std::uint16_t> symbols) { return workspace().tokens.get(symbols.size()); }

std::uint64_t join_symbols(const ContextKernels& kernels, const TokenClasses& classes, std::span<const std::uint8_t> raw,
                           std::uint8_t* tokens, std::span<std::uint8_t> symbols) {
    return classes.raw ? 0 : kernels.join(tokens, symbols.size(), classes, raw.data(), raw.size());
}
std::uint64_t join_symbols(const ContextKernels&, const TokenClasses& classes, std::span<const std::uint8_t> raw,
                           std::uint8_t* tokens, std::span<std::uint16_t> symbols) {
    return context_join_wide(tokens, symbols.size(), classes, raw.data(), raw.size(), symbols.data());
}

template <class Symbol>
void check(std::span<Symbol> symbols, const ContextShape& shape, unsigned bits, Neighbourhood neighbourhood) {
    if (bits < 1 || bits > 8 * sizeof(Symbol)) throw std::invalid_argument("bits do not fit the symbol type");
    if (neighbourhood == Neighbourhood::gradient && bits > kGradientBits) throw std::invalid_argument("bits do not fit the neighbourhood");
    if (shape.lanes > context_lanes(shape) || (shape.lanes & (shape.lanes - 1)) != 0) throw std::invalid_argument("not a number of lanes");
    if (symbols.size() != symbol_count(shape)) throw std::invalid_argument("symbols do not fill the shape");
}

// Symbols as the kernels want them: tokens, and the raw bits where there are any; in the workspace or the symbols themselves. For
// gradient the symbols stay whole, and their raw bits come with the counting.
struct Split {
    const std::uint8_t* tokens = nullptr;
    const std::uint8_t* raw = nullptr;
    std::size_t raw_bytes = 0;
};

template <class Symbol>
Split split_any(const ContextKernels& kernels, std::span<const Symbol> symbols, unsigned bits, Neighbourhood neighbourhood) {
    const TokenClasses classes = token_classes(bits, neighbourhood);
    if (classes.raw || neighbourhood == Neighbourhood::gradient) return {as_tokens(symbols), nullptr, 0};
    Workspace& space = workspace();
    std::uint8_t* tokens = space.tokens.get(symbols.size());
    std::uint8_t* raw = space.raw.get(symbols.size() * sizeof(Symbol) + kRawSlack);
    std::uint64_t raw_bits = 0;
    Turns turns;
    for_parts(symbols.size(), kSplitPart, [&](std::size_t first, std::size_t count) {
        if (count == symbols.size()) {
            raw_bits = split_symbols(kernels, symbols, classes, tokens, raw);
            return;
        }
        Turns::Turn turn(turns, first / kSplitPart);
        std::uint8_t* const own = workspace().raw_part.get(count * sizeof(Symbol) + kRawSlack);
        const std::uint64_t more = split_symbols(kernels, symbols.subspan(first, count), classes, tokens + first, own);
        turn.take();
        context_append_bits(own, more, raw, raw_bits);
        raw_bits += more;
    });
    return {tokens, raw, static_cast<std::size_t>((raw_bits + 7) / 8)};
}

// Counts into `counts`, which may be null, and takes gradient's raw bits out.
void count_split(const LaneJob& job, Split& split, std::size_t symbols, ContextCounts* counts) {
    const bool takes_raw = job.neighbours == Neighbours::gradient && !token_classes(job.bits, Neighbourhood::gradient).raw;
    std::uint8_t* raw = takes_raw ? workspace().raw.get(symbols + kRawSlack) : nullptr;
    if (counts == nullptr && !takes_raw) return;
    const std::uint64_t raw_bits = context_count_tokens(job, split.tokens, counts, raw);
    if (takes_raw) split = {split.tokens, raw, static_cast<std::size_t>((raw_bits + 7) / 8)};
}

template <class Symbol>
void count_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits,
               Neighbourhood neighbourhood, ContextCounts& counts) {
    check(symbols, shape, bits, neighbourhood);
    if (symbols.empty()) return;
    Split split = split_any(kernels, symbols, bits, neighbourhood);
    count_split({kernels, shape, neighbours_of(neighbourhood, bits), bits}, split, symbols.size(), &counts);
}

std::size_t put_varint(std::uint64_t value, std::uint8_t* out) {
    std::size_t size = 0;
    for (; value >= 128; value >>= 7) out[size++] = static_cast<std::uint8_t>(value | 128);
    out[size++] = static_cast<std::uint8_t>(value);
    return size;
}

// At most 9 bytes: a size that no memory holds is refused by its caller.
bool get_varint(std::span<const std::uint8_t>& in, std::uint64_t& value) {
    value = 0;
    for (unsigned i = 0; i < 9 && i < in.size(); ++i) {
        value |= std::uint64_t{in[i] & 127u} << (7 * i);
        if (in[i] < 128) {
            in = in.subspan(i + 1);
            return true;
        }
    }
    return false;
}

// Everything after the tables. `used` bytes of `out` are taken already; `indexed`: count_tokens has just gone over these tokens.
std::size_t encode_body(const LaneJob& job, const Split& split, const ContextModel& model, std::span<std::uint8_t> out, std::size_t used,
                        bool indexed) {
    if (split.raw != nullptr) {
        used += put_varint(split.raw_bytes, out.data() + used);
        std::memcpy(out.data() + used, split.raw, split.raw_bytes);
        used += split.raw_bytes;
    }
    std::uint8_t* end = out.data() + out.size();
    const std::uint8_t* front = context_encode_tokens(job, split.tokens, model, end, indexed);
    const auto size = static_cast<std::size_t>(end - front);
    std::memmove(out.data() + used, front, size);
    return used + size;
}

// The same of gradient's symbols with raw bits, all in one pass: nothing had to be counted before.
std::size_t encode_body_once(const LaneJob& job, std::span<const std::uint8_t> symbols, const ContextModel& model, std::span<std::uint8_t> out) {
    std::uint8_t* room = workspace().raw.get(symbols.size() + kRawSlack);
    RawBits raw{{room, symbols.size()}, 0};
    std::memset(room + symbols.size(), 0, kRawSlack);
    std::uint8_t* end = out.data() + out.size();
    const std::uint8_t* front = context_encode_tokens(job, symbols.data(), model, end, false, &raw);
    const auto size = static_cast<std::size_t>(end - front);
    const std::uint64_t raw_bytes = (raw.number + 7) / 8;
    std::size_t used = put_varint(raw_bytes, out.data());
    context_copy_raw(raw, out.data() + used);
    used += static_cast<std::size_t>(raw_bytes);
    std::memmove(out.data() + used, front, size);
    return used + size;
}

// The part of `out` that is used: all encodings fit in it, and words are written from its end.
std::span<std::uint8_t> bounded(std::span<std::uint8_t> out, const ContextShape& shape, unsigned bits) {
    const std::size_t bound = context_bound(shape, bits);
    if (out.size() < bound) throw std::invalid_argument("the output span is too small");
    return out.first(bound);
}

template <class Symbol>
std::size_t encode_static_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits,
                              const ContextModel& model, std::span<std::uint8_t> out) {
    check(symbols, shape, bits, model.neighbourhood);
    out = bounded(out, shape, bits);
    if (symbols.empty()) return 0;
    const LaneJob job{kernels, shape, neighbours_of(model.neighbourhood, bits), bits};
    const Split split = split_any(kernels, symbols, bits, model.neighbourhood);
    const bool once = job.neighbours == Neighbours::gradient && !token_classes(bits, model.neighbourhood).raw;
    return once ? encode_body_once(job, {split.tokens, symbols.size()}, model, out) : encode_body(job, split, model, out, 0, false);
}

// ---- adaptive: what to code given what --------------------------------------------------------------------------------------
constexpr std::size_t kSampled = 8192;   // symbols that say which neighbourhood to take, and
constexpr std::size_t kSampledMaps = 32;  // maps, as far as there are so many

// Strips of maps, `rows` high, each elsewhere in its map; one map in `stride`.
template <class Symbol>
std::span<const Symbol> sampled_strips(std::span<const Symbol> symbols, const ContextShape& shape, std::size_t stride, std::size_t rows) {
    thread_local Buffer<Symbol> buffer;
    const std::size_t strip = rows * shape.width;
    const std::size_t count = shape.maps / stride;
    Symbol* to = buffer.get(count * strip);
    for (std::size_t m = 0; m < count; ++m) {
        const std::size_t top = m * 5 % (shape.height - rows + 1);
        std::copy_n(symbols.data() + (m * stride * shape.height + top) * shape.width, strip, to + m * strip);
    }
    return {to, count * strip};
}

// What to code given what; where all symbols were looked at, their counts too.
struct Chosen {
    Neighbourhood neighbourhood = Neighbourhood::near;
    bool counted = false;
    ContextCounts near;
    ContextCounts gradient;

    void begin() {
        neighbourhood = Neighbourhood::near;
        counted = false;
        near.fill(0);
        gradient.fill(0);
    }
};

template <class Symbol>
void choose(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits, Chosen& chosen) {
    if (bits > kGradientBits) return;
    const std::size_t wanted = std::clamp<std::size_t>(symbols.size() / kSampled, 1, 16);
    const std::size_t stride = std::clamp<std::size_t>(shape.maps / kSampledMaps, 1, wanted);
    const std::size_t rows = std::clamp<std::size_t>(shape.height * stride / wanted, std::min<std::size_t>(shape.height, 8), shape.height);
    chosen.counted = stride == 1 && rows == shape.height;
    const std::span<const Symbol> sample = chosen.counted ? symbols : sampled_strips(symbols, shape, stride, rows);
    const ContextShape part{shape.maps / stride, rows, shape.width};
    count_any(kernels, sample, part, bits, Neighbourhood::near, chosen.near);
    count_any(kernels, sample, part, bits, Neighbourhood::gradient, chosen.gradient);
    chosen.neighbourhood = context_choose(chosen.near, chosen.gradient, bits);
}

template <class Symbol>
std::size_t encode_if_any(const ContextKernels& kernels, std::span<const Symbol> symbols, ContextShape shape, unsigned bits,
                             const std::function<bool(std::uint64_t)>& is_worth, std::span<std::uint8_t> out, ContextChoice& choice) {
    check(symbols, shape, bits, Neighbourhood::near);
    out = bounded(out, shape, bits);
    if (symbols.empty()) return 0;
    Chosen& chosen = thread_room<Chosen>();
    chosen.begin();
    choose(kernels, symbols, shape, bits, chosen);
    const Neighbourhood neighbourhood = chosen.neighbourhood;
    const LaneJob job{kernels, shape, neighbours_of(neighbourhood, bits), bits};
    Split split = split_any(kernels, symbols, bits, neighbourhood);
    ContextCounts& counts = neighbourhood == Neighbourhood::gradient ? chosen.gradient : chosen.near;
    if (!chosen.counted) {
        counts.fill(0);
        count_split(job, split, symbols.size(), &counts);
    }
    ContextPlan plan = context_plan(counts, shape, bits, neighbourhood);
    const unsigned most = context_lanes(shape);
    shape.lanes = context_lanes_for(plan.coded_bytes, shape, 1);
    bool indexed = !chosen.counted;
    if (shape.lanes != most && shape.maps % most != 0) {  // other rows have no row above: other contexts
        counts.fill(0);
        count_split(job, split, symbols.size(), &counts);
        plan = context_plan(counts, shape, bits, neighbourhood);
        indexed = true;
    } else {
        plan.size_bytes -= std::min<std::uint64_t>(plan.size_bytes, 3 * std::uint64_t{most - shape.lanes});
        // other steps, or none yet: gradient's raw bits in another order
        if (shape.lanes != most || chosen.counted) count_split(job, split, symbols.size(), nullptr);
    }
    if (!is_worth(plan.size_bytes)) return 0;
    choice = {neighbourhood, shape.lanes};
    ContextModel model;
    if (context_model(plan.tables, bits, false, model) != Status::ok) throw std::invalid_argument("not a plan");
    BitWriter writer(out);
    context_write_tables(plan, bits, writer);
    return encode_body(job, split, model, out, writer.finish(), indexed && shape.lanes == most);
}

Status widen(std::span<const std::uint8_t>, std::span<std::uint8_t>) { return Status::ok; }  // already where they belong
Status widen(std::span<const std::uint8_t> tokens, std::span<std::uint16_t> symbols) {
    std::copy(tokens.begin(), tokens.end(), symbols.begin());
    return Status::ok;
}

template <class Symbol>
Status decode_body(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                   const ContextModel& model, std::span<Symbol> symbols) {
    const TokenClasses classes = token_classes(bits, model.neighbourhood);
    std::span<const std::uint8_t> raw;
    if (!classes.raw) {
        std::uint64_t raw_bytes = 0;
        if (!get_varint(in, raw_bytes) || raw_bytes > in.size()) return Status::truncated;
        raw = in.first(static_cast<std::size_t>(raw_bytes));
        in = in.subspan(static_cast<std::size_t>(raw_bytes));
    }
    std::uint8_t* tokens = token_target(symbols);
    const LaneJob job{kernels, shape, neighbours_of(model.neighbourhood, bits), bits};
    const Status status = context_decode_tokens(job, in, model, raw, tokens);
    if (status != Status::ok) return status;
    if (job.neighbours == Neighbours::gradient) return widen({tokens, symbols.size()}, symbols);
    const std::uint64_t wanted = join_symbols(kernels, classes, raw, tokens, symbols);
    if (wanted > 8 * std::uint64_t{raw.size()}) return Status::truncated;
    if ((wanted + 7) / 8 != raw.size()) return Status::trailing;
    return wanted % 8 != 0 && (raw.back() >> (wanted % 8)) != 0 ? Status::trailing : Status::ok;
}

template <class Symbol>
Status decode_static_any(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                         const ContextModel& model, std::span<Symbol> symbols) {
    check(symbols, shape, bits, model.neighbourhood);
    if (symbols.empty()) return in.empty() ? Status::ok : Status::trailing;
    return decode_body(kernels, in, shape, bits, model, symbols);
}

Status read_tables(std::span<const std::uint8_t> in, unsigned bits, Neighbourhood neighbourhood, ContextTables& tables, std::size_t& used) {
    BitReader reader(in);
    tables.neighbourhood = neighbourhood;
    const Status status = context_read_tables(reader, bits, tables);
    used = reader.bytes_used();
    return status;
}

template <class Symbol>
Status decode_adaptive_any(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                           Neighbourhood neighbourhood, std::span<Symbol> symbols) {
    check(symbols, shape, bits, neighbourhood);
    if (symbols.empty()) return in.empty() ? Status::ok : Status::trailing;
    ContextTables tables;
    std::size_t used = 0;
    Status status = read_tables(in, bits, neighbourhood, tables, used);
    if (status != Status::ok) return status;
    ContextModel model;
    status = context_model(tables, bits, false, model);
    return status != Status::ok ? status : decode_body(kernels, in.subspan(used), shape, bits, model, symbols);
}

}  // namespace

Status context_table_bytes(std::span<const std::uint8_t> in, unsigned bits, Neighbourhood neighbourhood, std::size_t& used) {
    ContextTables tables;
    return read_tables(in, bits, neighbourhood, tables, used);
}

std::size_t context_bound(const ContextShape& shape, unsigned bits) {
    const std::size_t symbols = symbol_count(shape);
    // A token costs at most 12 bits and some rounding, in words of 16; a table section at most 32 tables of 16 short codes.
    return 4096 + symbols * 2 + (bits > 4 ? symbols * (bits <= 8 ? 1 : 2) : 0);
}

void context_count(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape, unsigned bits,
                   Neighbourhood neighbourhood, ContextCounts& counts) {
    count_any(kernels, symbols, shape, bits, neighbourhood, counts);
}
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out) {
    return encode_static_any(kernels, symbols, shape, bits, model, out);
}
std::size_t context_encode_if(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                 unsigned bits, const std::function<bool(std::uint64_t)>& is_worth, std::span<std::uint8_t> out, ContextChoice& choice) {
    return encode_if_any(kernels, symbols, shape, bits, is_worth, out, choice);
}
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                             const ContextModel& model, std::span<std::uint8_t> symbols) {
    return decode_static_any(kernels, in, shape, bits, model, symbols);
}
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                               Neighbourhood neighbourhood, std::span<std::uint8_t> symbols) {
    return decode_adaptive_any(kernels, in, shape, bits, neighbourhood, symbols);
}
void context_count(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape, unsigned bits,
                   Neighbourhood neighbourhood, ContextCounts& counts) {
    count_any(kernels, symbols, shape, bits, neighbourhood, counts);
}
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out) {
    return encode_static_any(kernels, symbols, shape, bits, model, out);
}
std::size_t context_encode_if(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                 unsigned bits, const std::function<bool(std::uint64_t)>& is_worth, std::span<std::uint8_t> out, ContextChoice& choice) {
    return encode_if_any(kernels, symbols, shape, bits, is_worth, out, choice);
}
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                             const ContextModel& model, std::span<std::uint16_t> symbols) {
    return decode_static_any(kernels, in, shape, bits, model, symbols);
}
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                               Neighbourhood neighbourhood, std::span<std::uint16_t> symbols) {
    return decode_adaptive_any(kernels, in, shape, bits, neighbourhood, symbols);
}

}  // namespace featcodec
