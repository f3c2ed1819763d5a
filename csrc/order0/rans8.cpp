// 12-bit rANS frequencies: normalised from counts, sent, received. The coding loops are kernels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "levels8.hpp"
#include "order0.hpp"

namespace featcodec {
namespace {

constexpr unsigned kAbsent = kRansProbBits + 1;  // level of a frequency: 13 - its bit width
constexpr unsigned kPrecisionBits = 4;
constexpr unsigned kMaxPrecision = kRansProbBits - 1;

unsigned level_of(unsigned freq) { return kAbsent - static_cast<unsigned>(std::bit_width(freq)); }

// Symbols that would get less than 1 get 1; the rest shares what is left. Returns the factor for the rest.
double share_per_count(const ByteCounts& counts, unsigned alphabet, double total) {
    double scale = kRansTotal / total;
    for (int pass = 0; pass < 3; ++pass) {
        double rest = 0;
        unsigned floored = 0;
        for (unsigned i = 0; i < alphabet; ++i) {
            const bool small = counts[i] * scale < 1.0;
            floored += small && counts[i] != 0;
            rest += small ? 0 : counts[i];
        }
        const double next = rest > 0 ? (kRansTotal - floored) / rest : scale;
        if (next == scale) break;
        scale = next;
    }
    return scale;
}

// Shares of kRansTotal in proportion to the counts, at least 1 where a symbol occurs; the largest takes what rounding leaves.
void normalise(const ByteCounts& counts, unsigned bits, RansCode& code) {
    const unsigned alphabet = 1u << bits;
    double total = 0;
    unsigned largest = 0;
    for (unsigned i = 0; i < alphabet; ++i) {
        total += counts[i];
        if (counts[i] > counts[largest]) largest = i;
    }
    const double scale = share_per_count(counts, alphabet, total);
    double carry = 0;  // what rounding owes from the symbols before
    unsigned sum = 0;
    for (unsigned i = 0; i < alphabet; ++i) {
        code.freq[i] = 0;
        if (counts[i] == 0 || i == largest) continue;
        const double wanted = std::max(1.0, counts[i] * scale);
        const auto rounded = static_cast<unsigned>(std::max(0.0, wanted + std::clamp(carry, -0.5, 0.5) + 0.5));
        const unsigned freq = std::clamp(rounded, 1u, kRansTotal / 2);
        carry += wanted - freq;
        sum += freq;
        code.freq[i] = static_cast<std::uint16_t>(freq);
    }
    code.freq[largest] = static_cast<std::uint16_t>(kRansTotal - sum);
    code.filler = static_cast<std::uint8_t>(largest);
}

}  // namespace

void rans8_starts(RansCode& code, unsigned bits) {
    unsigned start = 0;
    for (unsigned i = 0; i < 1u << bits; ++i) {
        code.start[i] = static_cast<std::uint16_t>(start);
        start += code.freq[i];
    }
    for (unsigned i = 1u << bits; i < 256; ++i) {
        code.freq[i] = 0;
        code.start[i] = kRansTotal;
    }
}

// Exact division of states below 2^31 by a product (Alverson 1991; F. Giesen, rans_byte.h).
void rans8_steps(RansCode& code) {
    for (unsigned i = 0; i < 256; ++i) {
        const std::uint32_t freq = code.freq[i];
        if (freq < 2) {  // x * (2^32 - 1) >> 32 is x - 1: the bias makes up for it
            code.reciprocal[i] = UINT32_MAX;
            code.step[i] = freq | ((code.start[i] + kRansTotal - 1) & 8191u) << kRansProbBits;
            continue;
        }
        const auto shift = static_cast<unsigned>(std::bit_width(freq - 1));  // smallest with freq <= 2^shift
        code.reciprocal[i] = static_cast<std::uint32_t>(((std::uint64_t{1} << (shift + 31)) + freq - 1) / freq);
        code.step[i] = freq | static_cast<std::uint32_t>(code.start[i]) << kRansProbBits | (shift - 1) << 25;
    }
}

// The series of artanh.
double log2_of(std::uint32_t value) {
    const int exponent = std::bit_width(value) - 1;
    const double mantissa = value / static_cast<double>(1u << exponent);
    const double s = (mantissa - 1) / (mantissa + 1);
    const double square = s * s;
    return exponent + 2.885390081777927 * s * (1 + square * (1.0 / 3 + square * (1.0 / 5 + square / 7)));
}

std::size_t rans8_write_table(const RansCode& code, unsigned bits, std::span<std::uint8_t> out) {
    const unsigned alphabet = 1u << bits;
    std::uint8_t levels[256];
    for (unsigned i = 0; i < alphabet; ++i) levels[i] = static_cast<std::uint8_t>(level_of(code.freq[i]));
    BitWriter writer(out);
    writer.put(kMaxPrecision, kPrecisionBits);
    writer.put(code.filler, bits);
    levels8_write(writer, levels, alphabet, 0, kAbsent);
    for (unsigned i = 0; i < alphabet; ++i) {
        const unsigned freq = code.freq[i];
        if (freq < 2 || i == code.filler) continue;
        const auto mantissa = static_cast<unsigned>(std::bit_width(freq)) - 1;
        writer.put(freq & ((1u << mantissa) - 1), mantissa);
    }
    return writer.finish();
}

Status rans8_read_table(std::span<const std::uint8_t> in, unsigned bits, RansCode& code, std::size_t& used) {
    BitReader reader(in);
    const unsigned alphabet = 1u << bits;
    std::uint8_t levels[256];
    const unsigned precision = reader.get(kPrecisionBits);
    const unsigned filler = reader.get(bits);
    if (precision > kMaxPrecision) return Status::bad_table;
    if (const Status status = levels8_read(reader, levels, alphabet, 0, kAbsent); status != Status::ok) return status;
    unsigned sum = 0;
    for (unsigned i = 0; i < alphabet; ++i) {
        code.freq[i] = 0;
        if (levels[i] == kAbsent || i == filler) continue;
        const unsigned mantissa = kAbsent - levels[i] - 1;
        const unsigned dropped = mantissa > precision ? mantissa - precision : 0;
        const unsigned freq = (1u << mantissa) | reader.get(mantissa - dropped) << dropped;
        code.freq[i] = static_cast<std::uint16_t>(freq);
        sum += freq;
    }
    if (reader.overrun()) return Status::truncated;
    // The filler's frequency is the rest; it must be some, and others must exist, so that none has the whole range.
    if (sum == 0 || sum >= kRansTotal || level_of(kRansTotal - sum) != levels[filler]) return Status::bad_table;
    code.freq[filler] = static_cast<std::uint16_t>(kRansTotal - sum);
    code.filler = static_cast<std::uint8_t>(filler);
    used = reader.bytes_used();
    const auto padding = static_cast<unsigned>(used * 8 - reader.bits_used());
    if (padding > 0 && reader.peek(padding) != 0) return Status::bad_table;
    rans8_starts(code, bits);
    return Status::ok;
}

void rans8_build_static(const Order0Kernels& kernels, const ByteCounts& symbol_counts, unsigned bits, RansStatic& fixed) {
    ByteCounts counts = {};
    for (unsigned i = 0; i < 1u << bits; ++i) counts[i] = std::max(symbol_counts[i], 1u);
    normalise(counts, bits, fixed.code);
    rans8_starts(fixed.code, bits);
    rans8_steps(fixed.code);
    kernels.rans_slots(fixed.code, bits, fixed.slots);
}

Status rans8_load_static(const Order0Kernels& kernels, std::span<const std::uint8_t> table, unsigned bits, RansStatic& fixed) {
    std::size_t used = 0;
    std::memset(&fixed.code, 0, sizeof fixed.code);
    if (const Status status = rans8_read_table(table, bits, fixed.code, used); status != Status::ok) return status;
    if (used != table.size()) return Status::trailing;
    for (unsigned i = 0; i < 1u << bits; ++i) {
        if (fixed.code.freq[i] == 0) return Status::bad_table;
    }
    rans8_steps(fixed.code);
    kernels.rans_slots(fixed.code, bits, fixed.slots);
    return Status::ok;
}

}  // namespace featcodec
