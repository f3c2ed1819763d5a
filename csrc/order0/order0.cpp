// Picks the cheapest order-0 mode by exact costs, writes the mode byte and the body.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "curve8.hpp"
#include "order0.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

struct Plan {
    HuffmanCode huffman;
    RansCode rans;
    RareSymbols rare;
    std::uint8_t huffman_table[kHuffman8TableBound];  // as sent: their sizes are part of the costs
    std::uint8_t rans_table[kCurve8TableBound];
    std::size_t huffman_table_size, rans_table_size;
    Order0Costs costs;
    ByteCounts symbol_counts;
    std::uint8_t constant;  // the symbol, where costs.constant
};

// Frequencies as a curve. Where none fits the mode does not apply: its cost stays what it is.
void plan_curve(std::size_t count, unsigned bits, Plan& plan) {
    Curve8 curve;
    curve8_fit(plan.symbol_counts, bits, curve);
    if (!curve8_code(curve, bits, plan.rans, plan.rare)) return;
    curve8_steps(plan.rans, plan.rare);
    plan.rans_table_size = curve8_write(curve, bits, plan.rans_table);
    plan.costs.rans = 1 + plan.rans_table_size + curve8_cost(plan.rans, plan.rare, plan.symbol_counts, count);
}

void make_plan(const ByteCounts& coded, std::size_t count, unsigned bits, bool with_huffman, bool with_rans, Plan& plan) {
    plan.costs = {1 + pack8_size(count, bits), SIZE_MAX, SIZE_MAX, false};
    // Symbols are counted for rANS, and where they may all be one: that makes two bytes at most, the last one with its padding.
    const bool many_bytes = 256 - std::count(std::begin(coded), std::end(coded), 0u) > 2;
    if (with_rans || !many_bytes) {
        histogram_symbols(coded, count, bits, plan.symbol_counts);
        unsigned distinct = 0;
        for (unsigned i = 0; i < 1u << bits; ++i) {
            if (plan.symbol_counts[i] == 0) continue;
            plan.constant = static_cast<std::uint8_t>(i);
            ++distinct;
        }
        plan.costs.constant = distinct == 1;
        if (distinct < 2) return;
    }
    if (with_huffman) {
        huffman8_build(coded, plan.huffman);
        plan.huffman_table_size = huffman8_write_table(plan.huffman, bits, plan.huffman_table);
        plan.costs.huffman = 1 + plan.huffman_table_size + huffman8_cost(plan.huffman, coded, count, bits);
    }
    if (with_rans) plan_curve(count, bits, plan);
}

Order0Mode pick(const Order0Costs& costs) {
    if (costs.constant) return Order0Mode::constant;
    const bool rans = costs.rans < costs.huffman;
    const std::size_t best = rans ? costs.rans : costs.huffman;
    if (best >= costs.raw) return Order0Mode::raw;
    return rans ? Order0Mode::curve : Order0Mode::huffman;
}

std::size_t with_mode(Order0Mode mode, std::size_t body, std::span<std::uint8_t> out) {
    out[0] = static_cast<std::uint8_t>(mode);
    return 1 + body;
}

std::size_t encode_raw(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, std::span<std::uint8_t> out) {
    return with_mode(Order0Mode::raw, pack8_encode(kernels, symbols, bits, out.subspan(1)), out);
}

// Coded bytes of the tensor at hand.
std::uint8_t* packed_scratch(std::size_t count, unsigned bits) {
    thread_local Buffer<std::uint8_t> bytes;
    return bytes.get(coded_bytes(count, bits));
}

void check_arguments(std::size_t count, unsigned bits, std::size_t out_size) {
    if (bits < 1 || bits > 8) throw std::invalid_argument("bits must be 1..8");
    if (out_size < order0_bound(count, bits)) throw std::invalid_argument("out must have order0_bound bytes");
    if (count > UINT32_MAX) throw std::invalid_argument("at most 2^32 - 1 symbols");
}

}  // namespace

// The entropy of coded bytes, which no code of them or of their symbols goes below, but for the symbols that fill up the last one.
std::size_t order0_least(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits) {
    constexpr double kFill = 7 * kRansProbBits;
    ByteCounts coded;
    histogram_coded(kernels, symbols, bits, coded);
    const auto total = static_cast<std::uint32_t>(coded_bytes(symbols.size(), bits));
    double entropy = -kFill;
    for (const std::uint32_t times : coded) entropy += times > 0 ? times * (log2_of(total) - log2_of(times) - 1e-4) : 0.0;
    const auto least = static_cast<std::size_t>(std::max(entropy / 8, 0.0));
    return 1 + std::min(least, pack8_size(symbols.size(), bits));
}

std::size_t order0_bound(std::size_t count, unsigned bits) { return 1 + std::max<std::size_t>(1, pack8_size(count, bits)); }

std::size_t order0_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, Order0Choice choice,
                          std::span<std::uint8_t> out) {
    check_arguments(symbols.size(), bits, out.size());
    // Packed once, for counting and for Huffman: the symbols of a large tensor come from memory but once.
    std::uint8_t* const packed = choice != Order0Choice::rans && symbols_per_byte(bits) > 1 ? packed_scratch(symbols.size(), bits) : nullptr;
    ByteCounts coded;
    histogram_coded(kernels, symbols, bits, coded, packed);
    for (unsigned value = coded_alphabet(bits); value < 256; ++value) {
        if (coded[value] != 0) throw std::invalid_argument("symbols must be below 2^bits");
    }
    Plan& plan = thread_room<Plan>();
    make_plan(coded, symbols.size(), bits, choice != Order0Choice::rans, choice != Order0Choice::huffman, plan);
    const auto body = out.subspan(1, order0_bound(symbols.size(), bits) - 1);
    std::size_t written = 0;
    const Order0Mode mode = pick(plan.costs);
    if (mode == Order0Mode::constant) {
        body[0] = plan.constant;
        written = 1;
    } else if (mode == Order0Mode::huffman) {
        written = huffman8_encode(kernels, symbols, packed, bits, plan.huffman, {plan.huffman_table, plan.huffman_table_size}, body);
    } else if (mode == Order0Mode::curve) {
        written = curve8_encode(kernels, symbols, bits, plan.rans, plan.rare, {plan.rans_table, plan.rans_table_size}, body);
    }
    return written == 0 ? encode_raw(kernels, symbols, bits, out) : with_mode(mode, written, out);
}

std::size_t order0_encode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits,
                                 const Order0Tables& tables, std::span<std::uint8_t> out) {
    check_arguments(symbols.size(), bits, out.size());
    if (symbols.empty()) return encode_raw(kernels, symbols, bits, out);
    const auto body = out.subspan(1, order0_bound(symbols.size(), bits) - 1);
    if (tables.huffman != nullptr) {
        const std::size_t written = huffman8_encode(kernels, symbols, nullptr, bits, tables.huffman->code, {}, body);
        if (written != 0) return with_mode(Order0Mode::huffman_static, written, out);
    } else if (tables.rans != nullptr) {
        const std::size_t written = curve8_encode(kernels, symbols, bits, tables.rans->code, tables.rans->rare, {}, body);
        if (written != 0) return with_mode(Order0Mode::rans_static, written, out);
    }
    return encode_raw(kernels, symbols, bits, out);
}

Status order0_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const Order0Tables& tables,
                     std::span<std::uint8_t> symbols) {
    if (bits < 1 || bits > 8) throw std::invalid_argument("bits must be 1..8");
    if (in.empty()) return Status::truncated;
    const auto body = in.subspan(1);
    switch (static_cast<Order0Mode>(in[0])) {
        case Order0Mode::raw: return pack8_decode(kernels, body, bits, symbols);
        case Order0Mode::constant:
            if (body.size() != 1) return body.empty() ? Status::truncated : Status::trailing;
            if (body[0] >> bits != 0) return Status::bad_code;
            std::fill(symbols.begin(), symbols.end(), body[0]);
            return Status::ok;
        case Order0Mode::huffman: return huffman8_decode(kernels, body, bits, symbols);
        case Order0Mode::curve: return curve8_decode(kernels, body, bits, symbols);
        case Order0Mode::huffman_static:
            if (tables.huffman == nullptr) return Status::bad_mode;
            return huffman8_decode_static(kernels, body, bits, *tables.huffman, symbols);
        case Order0Mode::rans_static:
            if (tables.rans == nullptr) return Status::bad_mode;
            return curve8_decode_static(kernels, body, bits, *tables.rans, symbols);
    }
    return Status::bad_mode;
}

}  // namespace featcodec
