// Chooses a mode for one sample's symbols and writes its stream; reads any mode back.
#include "coder.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels.hpp"
#include "order0/curve8.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

template <typename Symbol>
using Symbols = std::span<const Symbol>;

const Order0Kernels& order0() noexcept { return current_kernels().order0; }
const ContextKernels& context() noexcept { return current_kernels().context; }

std::size_t count_of(const ContextShape& shape) { return shape.maps * shape.height * shape.width; }

ContextCounts& counts_scratch() {
    thread_local ContextCounts counts;
    counts.fill(0);
    return counts;
}

std::size_t pack(Symbols<std::uint8_t> symbols, unsigned bits, std::span<std::uint8_t> out) { return pack8_encode(order0(), symbols, bits, out); }

std::size_t pack(Symbols<std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out) {
    const std::size_t size = packed_size(symbols.size(), bits);
    pack_bits(symbols, bits, out.first(size));
    return size;
}

template <typename Symbol>
std::size_t encode_packed(Symbols<Symbol> symbols, unsigned bits, std::span<std::uint8_t> out) {
    out[0] = static_cast<std::uint8_t>(Mode::packed);
    return 1 + pack(symbols, bits, out.subspan(1));
}

std::uint8_t context_mode(bool is_static, Neighbourhood neighbourhood, unsigned lanes) {
    const unsigned gradient = neighbourhood == Neighbourhood::gradient ? kContextGradient : 0u;
    const unsigned flags = (is_static ? kContextStatic : 0u) | gradient | static_cast<unsigned>(std::countr_zero(lanes));
    return static_cast<std::uint8_t>(static_cast<unsigned>(Mode::context) | flags);
}

// A stream of an order-0 mode, packed bits included, and a bound of its size from below that is found sooner.
std::size_t encode_flat(Symbols<std::uint8_t> symbols, unsigned bits, std::span<std::uint8_t> out) {
    return order0_encode(order0(), symbols, bits, Order0Choice::smallest, out);
}
std::size_t encode_flat(Symbols<std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out) { return huffman_encode(symbols, bits, out); }
std::size_t least_flat(Symbols<std::uint8_t> symbols, unsigned bits) { return order0_least(order0(), symbols, bits); }
std::size_t least_flat(Symbols<std::uint16_t> symbols, unsigned bits) { return huffman_least(symbols, bits); }

// Context coding, or an order-0 mode where that is smaller: mostly the bound tells.
template <typename Symbol>
std::size_t encode_smallest(Symbols<Symbol> symbols, const ContextShape& shape, unsigned bits, std::span<std::uint8_t> out) {
    ContextChoice choice;
    std::size_t flat = 0;
    const auto is_worth = [&](std::uint64_t promised) {
        if (1 + promised < least_flat(symbols, bits)) return true;
        flat = encode_flat(symbols, bits, out);
        return 1 + promised < flat;
    };
    const std::size_t size = context_encode_if(context(), symbols, shape, bits, is_worth, out.subspan(1), choice);
    if (size == 0) return flat;
    out[0] = context_mode(false, choice.neighbourhood, choice.lanes);
    return 1 + size;
}

template <typename Symbol>
std::size_t encode_context_static(const StaticModel& model, Symbols<Symbol> symbols, ContextShape shape, unsigned bits,
                                  std::span<std::uint8_t> out) {
    const std::uint64_t expected = std::uint64_t{symbols.size()} * model.context_rate / (8 * 16);
    shape.lanes = context_lanes_for(expected, shape, 8);  // fewer are slower than they are short
    out[0] = context_mode(true, model.context->neighbourhood, shape.lanes);
    return 1 + context_encode_static(context(), symbols, shape, bits, *model.context, out.subspan(1));
}

template <typename Symbol>
bool is_constant(Symbols<Symbol> symbols) {
    return std::all_of(symbols.begin(), symbols.end(), [&](Symbol symbol) { return symbol == symbols[0]; });
}

// The symbol itself, little-endian: one byte of uint8, two of uint16.
template <typename Symbol>
std::size_t encode_constant(Symbol symbol, std::span<std::uint8_t> out) {
    out[0] = static_cast<std::uint8_t>(Mode::constant);
    std::memcpy(out.data() + 1, &symbol, sizeof(Symbol));
    return 1 + sizeof(Symbol);
}

// Raw bits where a stream came out larger: its cost was only estimated.
template <typename Symbol>
std::size_t never_above_packed(std::size_t size, Symbols<Symbol> symbols, unsigned bits, std::span<std::uint8_t> out) {
    return size > 1 + packed_size(symbols.size(), bits) ? encode_packed(symbols, bits, out) : size;
}

std::size_t encode_static(const Coder& coder, Symbols<std::uint8_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out) {
    const StaticModel& model = *coder.model;
    const Order0Tables tables{model.huffman.get(), model.rans.get()};
    if (!model.context) return order0_encode_static(order0(), symbols, coder.bits, tables, out);
    if (model.huffman) {  // automatic: the smaller of the two by their counts
        ContextCounts& counts = counts_scratch();
        context_count(context(), symbols, shape, coder.bits, model.context->neighbourhood, counts);
        ByteCounts coded;
        histogram_coded(order0(), symbols, coder.bits, coded);
        const std::size_t flat = huffman8_cost(model.huffman->code, coded, symbols.size(), coder.bits);
        if (flat < context_static_cost(counts, *model.context, shape, coder.bits)) {
            return order0_encode_static(order0(), symbols, coder.bits, tables, out);
        }
    }
    return never_above_packed(encode_context_static(model, symbols, shape, coder.bits, out), symbols, coder.bits, out);
}

std::size_t encode_static(const Coder& coder, Symbols<std::uint16_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out) {
    const std::size_t size = encode_context_static(*coder.model, symbols, shape, coder.bits, out);
    return never_above_packed(size, symbols, coder.bits, out);
}

bool has_static(const Coder& coder, bool wide) {
    return coder.model != nullptr && coder.model->bits == coder.bits && (coder.model->context || (!wide && (coder.model->huffman || coder.model->rans)));
}

}  // namespace

std::size_t coder_bound(const ContextShape& shape, unsigned bits) {
    const std::size_t count = count_of(shape);
    const std::size_t flat = bits <= 8 ? order0_bound(count, bits) : huffman_bound(count, bits);
    return 1 + std::max(flat, context_bound(shape, bits));
}

std::size_t coder_encode(const Coder& coder, Symbols<std::uint8_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out) {
    if (coder.family == Family::packed) return pack(symbols, coder.bits, out);
    if (is_constant(symbols)) return encode_constant(symbols[0], out);
    if (has_static(coder, false)) return encode_static(coder, symbols, shape, out);
    if (coder.family == Family::huffman) return order0_encode(order0(), symbols, coder.bits, Order0Choice::huffman, out);
    if (coder.family == Family::rans) return order0_encode(order0(), symbols, coder.bits, Order0Choice::rans, out);
    return never_above_packed(encode_smallest(symbols, shape, coder.bits, out), symbols, coder.bits, out);
}

std::size_t coder_encode(const Coder& coder, Symbols<std::uint16_t> symbols, const ContextShape& shape, std::span<std::uint8_t> out) {
    if (coder.family == Family::packed) return pack(symbols, coder.bits, out);
    if (is_constant(symbols)) return encode_constant(symbols[0], out);
    if (has_static(coder, true)) return encode_static(coder, symbols, shape, out);
    if (coder.family == Family::huffman) return huffman_encode(symbols, coder.bits, out);
    return never_above_packed(encode_smallest(symbols, shape, coder.bits, out), symbols, coder.bits, out);
}

namespace {

template <typename Symbol>
Status decode_context_static(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, Neighbourhood neighbourhood,
                             std::span<Symbol> symbols) {
    if (coder.model == nullptr || !coder.model->context || coder.model->bits != coder.bits) return Status::bad_mode;
    if (coder.model->context->neighbourhood != neighbourhood) return Status::bad_mode;
    return context_decode_static(context(), in, shape, coder.bits, *coder.model->context, symbols);
}

// What a mode byte of context coding says; is_context is false for any other.
struct ContextMode {
    bool is_context;
    bool known = true;  // false: no encoder writes it for this shape and these bits
    bool is_static = false;
    Neighbourhood neighbourhood = Neighbourhood::near;
    ContextShape shape;
};

ContextMode context_mode_of(unsigned mode, const ContextShape& shape, unsigned bits) {
    ContextMode of{.is_context = mode / 32 == static_cast<unsigned>(Mode::context) / 32, .shape = shape};
    of.is_static = (mode & kContextStatic) != 0;
    of.neighbourhood = (mode & kContextGradient) != 0 ? Neighbourhood::gradient : Neighbourhood::near;
    of.shape.lanes = 1u << (mode % 8);
    of.known = of.shape.lanes <= context_lanes(of.shape) && (of.neighbourhood == Neighbourhood::near || bits <= kGradientBits);
    return of;
}

// Whether a mode byte is one of context coding; if so, what came of it.
template <typename Symbol>
bool decode_context(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, std::span<Symbol> symbols, Status& status) {
    const ContextMode mode = context_mode_of(in[0], shape, coder.bits);
    if (!mode.is_context) return false;
    const auto rest = in.subspan(1);
    status = !mode.known      ? Status::bad_mode
             : mode.is_static ? decode_context_static(coder, rest, mode.shape, mode.neighbourhood, symbols)
                              : context_decode_adaptive(context(), rest, mode.shape, coder.bits, mode.neighbourhood, symbols);
    return true;
}

// In whole bytes.
Status order0_table_bytes(Mode mode, std::span<const std::uint8_t> body, unsigned bits, std::size_t& used) {
    if (mode == Mode::huffman8) {
        HuffmanCode code;
        return huffman8_read_table(body, bits, code, used);
    }
    Curve8 curve;
    return curve8_read(body, bits, curve, used);
}

}  // namespace

Status coder_decode(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, std::span<std::uint8_t> symbols) {
    if (coder.family == Family::packed) return pack8_decode(order0(), in, coder.bits, symbols);
    if (in.empty()) return Status::truncated;
    Status status{};
    if (decode_context(coder, in, shape, symbols, status)) return status;
    if (static_cast<Mode>(in[0]) == Mode::huffman) {
        thread_local Buffer<std::uint16_t> buffer;
        const std::span<std::uint16_t> wide(buffer.get(symbols.size()), symbols.size());
        status = huffman_decode(in, coder.bits, wide);
        if (status == Status::ok) std::copy(wide.begin(), wide.end(), symbols.begin());
        return status;
    }
    const bool own = coder.model != nullptr && coder.model->bits == coder.bits;
    const Order0Tables tables = own ? Order0Tables{coder.model->huffman.get(), coder.model->rans.get()} : Order0Tables{};
    return order0_decode(order0(), in, coder.bits, tables, symbols);
}

Status coder_decode(const Coder& coder, std::span<const std::uint8_t> in, const ContextShape& shape, std::span<std::uint16_t> symbols) {
    if (coder.family == Family::packed) return unpack_bits(in, coder.bits, symbols);
    if (in.empty()) return Status::truncated;
    Status status{};
    if (decode_context(coder, in, shape, symbols, status)) return status;
    const auto rest = in.subspan(1);
    switch (static_cast<Mode>(in[0])) {
        case Mode::packed: return unpack_bits(rest, coder.bits, symbols);
        case Mode::constant: {
            std::uint16_t symbol = 0;
            if (rest.size() != sizeof symbol) return rest.size() < sizeof symbol ? Status::truncated : Status::trailing;
            std::memcpy(&symbol, rest.data(), sizeof symbol);
            if (coder.bits < kMaxSymbolBits && symbol >> coder.bits != 0) return Status::bad_table;
            std::fill(symbols.begin(), symbols.end(), symbol);
            return Status::ok;
        }
        case Mode::huffman: return huffman_decode(in, coder.bits, symbols);
        default: return Status::bad_mode;
    }
}

bool coder_only_symbol(std::span<const std::uint8_t> in, unsigned bits, std::uint16_t& symbol) {
    const std::size_t size = bits <= 8 ? 1 : 2;
    if (in.size() != 1 + size || static_cast<Mode>(in[0]) != Mode::constant) return false;
    symbol = 0;
    std::memcpy(&symbol, in.data() + 1, size);
    return unsigned{symbol} >> bits == 0;
}

Status coder_table_bits(std::span<const std::uint8_t> in, const ContextShape& shape, unsigned bits, std::uint64_t& table_bits) {
    table_bits = 0;
    if (in.empty()) return Status::truncated;
    const auto body = in.subspan(1);
    std::size_t used = 0;
    Status status = Status::ok;
    if (const ContextMode mode = context_mode_of(in[0], shape, bits); mode.is_context) {
        if (!mode.known) return Status::bad_mode;
        if (!mode.is_static) status = context_table_bytes(body, bits, mode.neighbourhood, used);
    } else {
        switch (const auto which = static_cast<Mode>(in[0])) {
            case Mode::packed:
            case Mode::constant: return Status::ok;
            case Mode::huffman: return huffman_table_bits(body, bits, table_bits);
            case Mode::huffman8_static:
            case Mode::rans8_static: return bits <= 8 ? Status::ok : Status::bad_mode;
            case Mode::huffman8:
            case Mode::rans8_curve:
                if (bits > 8) return Status::bad_mode;
                status = order0_table_bytes(which, body, bits, used);
                break;
            default: return Status::bad_mode;
        }
    }
    table_bits = 8 * std::uint64_t{used};
    return status;
}

}  // namespace featcodec
