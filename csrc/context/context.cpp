// Context coder: the public functions and the order of the sections; context_lanes.cpp codes the tokens.
#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "bits.hpp"
#include "context_buffer.hpp"
#include "context_internal.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kSlack = 64;  // what split may scribble on past its bits

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
void check(std::span<Symbol> symbols, const ContextShape& shape, unsigned bits) {
    if (bits < 1 || bits > 8 * sizeof(Symbol)) throw std::invalid_argument("bits do not fit the symbol type");
    if (symbols.size() != symbol_count(shape)) throw std::invalid_argument("symbols do not fill the shape");
}

// Symbols as the kernels want them: tokens, and the raw bits where there are any; in the workspace or the symbols themselves.
struct Split {
    const std::uint8_t* tokens = nullptr;
    const std::uint8_t* raw = nullptr;
    std::size_t raw_bytes = 0;
};

template <class Symbol>
Split split_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const TokenClasses& classes) {
    if (classes.raw) return {as_tokens(symbols), nullptr, 0};
    Workspace& space = workspace();
    std::uint8_t* tokens = space.tokens.get(symbols.size());
    std::uint8_t* raw = space.raw.get(symbols.size() * sizeof(Symbol) + kSlack);
    const std::uint64_t raw_bits = split_symbols(kernels, symbols, classes, tokens, raw);
    return {tokens, raw, static_cast<std::size_t>((raw_bits + 7) / 8)};
}

template <class Symbol>
void count_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits, ContextCounts& counts) {
    check(symbols, shape, bits);
    if (symbols.empty()) return;
    context_count_tokens(kernels, split_any(kernels, symbols, token_classes(bits)).tokens, shape, bits <= kNarrowBits, counts);
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
std::size_t encode_body(const ContextKernels& kernels, const Split& split, const ContextShape& shape, const ContextModel& model,
                        std::span<std::uint8_t> out, std::size_t used, bool indexed) {
    if (split.raw != nullptr) {
        used += put_varint(split.raw_bytes, out.data() + used);
        std::memcpy(out.data() + used, split.raw, split.raw_bytes);
        used += split.raw_bytes;
    }
    std::uint8_t* end = out.data() + out.size();
    const std::uint8_t* front = context_encode_tokens(kernels, split.tokens, shape, model, end, indexed);
    const auto size = static_cast<std::size_t>(end - front);
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
    check(symbols, shape, bits);
    out = bounded(out, shape, bits);
    if (symbols.empty()) return 0;
    return encode_body(kernels, split_any(kernels, symbols, token_classes(bits)), shape, model, out, 0, false);
}

std::size_t encode_planned(const ContextKernels& kernels, const Split& split, const ContextShape& shape, unsigned bits,
                           const ContextPlan& plan, std::span<std::uint8_t> out, bool indexed) {
    ContextModel model;
    if (context_model(plan.tables, bits, false, model) != Status::ok) throw std::invalid_argument("not a plan");
    BitWriter writer(out);
    context_write_tables(plan, bits, writer);
    return encode_body(kernels, split, shape, model, out, writer.finish(), indexed);
}

template <class Symbol>
std::size_t encode_adaptive_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits,
                                const ContextPlan& plan, std::span<std::uint8_t> out) {
    check(symbols, shape, bits);
    out = bounded(out, shape, bits);
    if (symbols.empty()) return 0;
    return encode_planned(kernels, split_any(kernels, symbols, token_classes(bits)), shape, bits, plan, out, false);
}

template <class Symbol>
std::size_t encode_below_any(const ContextKernels& kernels, std::span<const Symbol> symbols, const ContextShape& shape, unsigned bits,
                             std::uint64_t limit_bytes, std::span<std::uint8_t> out) {
    check(symbols, shape, bits);
    out = bounded(out, shape, bits);
    if (symbols.empty()) return 0;
    const Split split = split_any(kernels, symbols, token_classes(bits));
    ContextCounts counts{};
    context_count_tokens(kernels, split.tokens, shape, bits <= kNarrowBits, counts);
    const ContextPlan plan = context_plan(counts, shape, bits);
    return plan.size_bytes >= limit_bytes ? 0 : encode_planned(kernels, split, shape, bits, plan, out, true);
}

template <class Symbol>
Status decode_body(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                   const ContextModel& model, std::span<Symbol> symbols) {
    const TokenClasses classes = token_classes(bits);
    std::span<const std::uint8_t> raw;
    if (!classes.raw) {
        std::uint64_t raw_bytes = 0;
        if (!get_varint(in, raw_bytes) || raw_bytes > in.size()) return Status::truncated;
        raw = in.first(static_cast<std::size_t>(raw_bytes));
        in = in.subspan(static_cast<std::size_t>(raw_bytes));
    }
    std::uint8_t* tokens = token_target(symbols);
    const Status status = context_decode_tokens(kernels, in, shape, model, tokens);
    if (status != Status::ok) return status;
    const std::uint64_t wanted = join_symbols(kernels, classes, raw, tokens, symbols);
    if (wanted > 8 * std::uint64_t{raw.size()}) return Status::truncated;
    if ((wanted + 7) / 8 != raw.size()) return Status::trailing;
    return wanted % 8 != 0 && (raw.back() >> (wanted % 8)) != 0 ? Status::trailing : Status::ok;
}

template <class Symbol>
Status decode_static_any(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                         const ContextModel& model, std::span<Symbol> symbols) {
    check(symbols, shape, bits);
    if (symbols.empty()) return in.empty() ? Status::ok : Status::trailing;
    return decode_body(kernels, in, shape, bits, model, symbols);
}

template <class Symbol>
Status decode_adaptive_any(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                           std::span<Symbol> symbols) {
    check(symbols, shape, bits);
    if (symbols.empty()) return in.empty() ? Status::ok : Status::trailing;
    BitReader reader(in);
    ContextTables tables;
    Status status = context_read_tables(reader, bits, tables);
    if (status != Status::ok) return status;
    const std::span<const std::uint8_t> rest = in.subspan(reader.bytes_used());
    ContextModel model;
    status = context_model(tables, bits, false, model);
    return status != Status::ok ? status : decode_body(kernels, rest, shape, bits, model, symbols);
}

}  // namespace

std::size_t context_bound(const ContextShape& shape, unsigned bits) {
    const std::size_t symbols = symbol_count(shape);
    // A token costs at most 12 bits and some rounding, in words of 16; a table section at most 32 tables of 16 short codes.
    return 4096 + symbols * 2 + (bits > 4 ? symbols * (bits <= 8 ? 1 : 2) : 0);
}

void context_count(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape, unsigned bits,
                   ContextCounts& counts) {
    count_any(kernels, symbols, shape, bits, counts);
}
void context_count(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape, unsigned bits,
                   ContextCounts& counts) {
    count_any(kernels, symbols, shape, bits, counts);
}
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out) {
    return encode_static_any(kernels, symbols, shape, bits, model, out);
}
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out) {
    return encode_static_any(kernels, symbols, shape, bits, model, out);
}
std::size_t context_encode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                    unsigned bits, const ContextPlan& plan, std::span<std::uint8_t> out) {
    return encode_adaptive_any(kernels, symbols, shape, bits, plan, out);
}
std::size_t context_encode_adaptive(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                    unsigned bits, const ContextPlan& plan, std::span<std::uint8_t> out) {
    return encode_adaptive_any(kernels, symbols, shape, bits, plan, out);
}
std::size_t context_encode_below(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                 unsigned bits, std::uint64_t limit_bytes, std::span<std::uint8_t> out) {
    return encode_below_any(kernels, symbols, shape, bits, limit_bytes, out);
}
std::size_t context_encode_below(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                 unsigned bits, std::uint64_t limit_bytes, std::span<std::uint8_t> out) {
    return encode_below_any(kernels, symbols, shape, bits, limit_bytes, out);
}
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                             const ContextModel& model, std::span<std::uint8_t> symbols) {
    return decode_static_any(kernels, in, shape, bits, model, symbols);
}
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                             const ContextModel& model, std::span<std::uint16_t> symbols) {
    return decode_static_any(kernels, in, shape, bits, model, symbols);
}
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                               std::span<std::uint8_t> symbols) {
    return decode_adaptive_any(kernels, in, shape, bits, symbols);
}
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits,
                               std::span<std::uint16_t> symbols) {
    return decode_adaptive_any(kernels, in, shape, bits, symbols);
}

const ContextKernels* context_kernels(Isa isa) noexcept {
    switch (isa) {
        case Isa::scalar: return &kContextScalar;
#ifdef FEATCODEC_X86
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? &kContextAvx2 : nullptr;
        case Isa::avx512:
            return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("bmi2")
                       ? &kContextAvx512
                       : nullptr;
        case Isa::avx512vbmi:
            return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2")
                       ? &kContextAvx512Vbmi
                       : nullptr;
#endif
#ifdef FEATCODEC_NEON
        case Isa::neon: return &kContextScalar;  // no kernels of its own yet
#endif
        default: return nullptr;
    }
}

}  // namespace featcodec
