// Curves of frequencies: to levels, to a code, to bits and back.
#include "curve8.hpp"

#include <algorithm>
#include <bit>

#include "bits.hpp"

namespace featcodec {
namespace {

constexpr unsigned kSpacingBits = 3;
constexpr unsigned kCoarsenessBits = 3;
constexpr unsigned kOrderBits = 3;  // of the Exp-Golomb codes: 0..7
constexpr unsigned kLevelBits = 8;

// Zeros right after knot j.
unsigned zero_run(const Curve8& curve, unsigned j) {
    const unsigned end = curve.num_knots();
    unsigned run = 0;
    while (j + 1 + run < end && curve.knots[j + 1 + run] == 0) ++run;
    return run;
}

// The order that makes the codes short.
unsigned best_order(const std::uint16_t* codes, unsigned count) {
    unsigned best = 0;
    unsigned best_cost = ~0u;
    for (unsigned k = 0; k < 1u << kOrderBits; ++k) {
        unsigned cost = 0;
        for (unsigned i = 0; i < count; ++i) cost += golomb_bits(codes[i], k);
        if (cost < best_cost) {
            best = k;
            best_cost = cost;
        }
    }
    return best;
}

void write_knots(BitWriter& writer, const Curve8& curve) {
    std::uint16_t codes[257];
    std::uint16_t positions[257];
    unsigned num_codes = 0;
    int before = curve8_first_knot(curve.coarseness);
    for (unsigned j = 0; j < curve.num_knots(); ++j) {
        codes[num_codes] = static_cast<std::uint16_t>(curve8_knot_code(before, curve.knots[j]));
        positions[num_codes++] = static_cast<std::uint16_t>(j);
        before = curve.knots[j];
        if (before == 0) j += zero_run(curve, j);
    }
    const unsigned order = best_order(codes, num_codes);
    writer.put(order, kOrderBits);
    for (unsigned i = 0; i < num_codes; ++i) {
        writer.put_golomb(codes[i], order);
        const unsigned j = positions[i];
        if (curve.knots[j] == 0 && j + 1 < curve.num_knots()) writer.put_golomb(zero_run(curve, j), 0);
    }
}

Status read_knots(BitReader& reader, Curve8& curve) {
    const unsigned order = reader.get(kOrderBits);
    const unsigned end = curve.num_knots();
    const int most = static_cast<int>(kCurveMaxLevel >> curve.coarseness);
    int before = curve8_first_knot(curve.coarseness);
    for (unsigned j = 0; j < end; ++j) {
        std::uint32_t code = 0;
        if (!reader.get_golomb(code, order) || code > 2 * kCurveMaxLevel) return Status::bad_table;
        const int value = before + unzigzag(code);
        if (value < 0 || value > most) return Status::bad_table;
        curve.knots[j] = static_cast<std::uint8_t>(value);
        before = value;
        if (value != 0 || j + 1 == end) continue;
        std::uint32_t run = 0;
        if (!reader.get_golomb(run, 0) || run >= end - j) return Status::bad_table;
        std::fill_n(curve.knots + j + 1, run, std::uint8_t{0});
        j += run;
    }
    return Status::ok;
}

Status read_exceptions(BitReader& reader, unsigned bits, Curve8& curve) {
    std::uint32_t count = 0;
    if (!reader.get_golomb(count, 0) || count > curve.last + 1) return Status::bad_table;
    curve.num_exceptions = count;
    for (unsigned i = 0; i < curve.num_exceptions; ++i) {
        const unsigned symbol = reader.get(bits);
        const unsigned level = reader.get(kLevelBits);
        if (symbol > curve.last || (i > 0 && symbol <= curve.symbols[i - 1]) || level > kCurveMaxLevel) return Status::bad_table;
        curve.symbols[i] = static_cast<std::uint8_t>(symbol);
        curve.levels[i] = static_cast<std::uint8_t>(level);
    }
    return Status::ok;
}

}  // namespace

unsigned curve8_knot_code(int before, int value) {
    return zigzag(value - before);
}

void curve8_levels(const Curve8& curve, std::uint8_t* levels) {
    const unsigned width = 1u << curve.spacing;
    const unsigned end = curve.num_knots();
    for (unsigned j = 0; j + 1 < end; ++j) {
        const unsigned first = static_cast<unsigned>(curve.knots[j]) << curve.coarseness;
        const unsigned next = static_cast<unsigned>(curve.knots[j + 1]) << curve.coarseness;
        const unsigned symbol = j << curve.spacing;
        const unsigned here = std::min(width, curve.last - symbol + 1);
        for (unsigned t = 0; t < here; ++t) {
            levels[symbol + t] = static_cast<std::uint8_t>((first * (width - t) + next * t) >> curve.spacing);
        }
    }
    if ((end - 1) << curve.spacing == curve.last) {
        levels[curve.last] = static_cast<std::uint8_t>(static_cast<unsigned>(curve.knots[end - 1]) << curve.coarseness);
    }
    for (unsigned i = 0; i < curve.num_exceptions; ++i) levels[curve.symbols[i]] = curve.levels[i];
}

bool curve8_code(const Curve8& curve, unsigned bits, RansCode& code, RareSymbols& rare) {
    std::uint8_t levels[256];
    curve8_levels(curve, levels);
    std::uint32_t weights[256] = {};
    rare.count = 0;
    for (unsigned i = 0; i <= curve.last; ++i) {
        if (levels[i] >= kCurveRare) weights[i] = curve8_weight(levels[i]);
        else if (curve.rare_level != 0) rare.symbols[rare.count++] = static_cast<std::uint8_t>(i);
    }
    if (curve.rare_level != 0) {
        if (rare.count == 0) return false;
        weights[rare.symbols[0]] = curve8_weight(curve.rare_level);
    }
    std::uint64_t total = 0;
    for (unsigned i = 0; i <= curve.last; ++i) total += weights[i];
    if (total == 0) return false;
    // Below 2^32 * kRansTotal: a weight is at most the total.
    const std::uint64_t scale = (std::uint64_t{kRansTotal} << 32) / total;
    unsigned largest = 0;
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < 256; ++i) {
        const auto share = static_cast<std::uint32_t>((weights[i] * scale + (std::uint64_t{1} << 31)) >> 32);
        const std::uint32_t freq = weights[i] == 0 ? 0 : std::max(share, 1u);
        code.freq[i] = static_cast<std::uint16_t>(freq);
        sum += freq;
        if (weights[i] > weights[largest]) largest = i;
    }
    // The largest takes what rounding left. None may have the whole range.
    const std::uint32_t others = sum - code.freq[largest];
    if (others == 0 || others >= kRansTotal) return false;
    code.freq[largest] = static_cast<std::uint16_t>(kRansTotal - others);
    rans8_starts(code, bits);
    return true;
}

// Rare symbols are coded as the first of them.
void curve8_steps(RansCode& code, const RareSymbols& rare) {
    rans8_steps(code);
    for (unsigned i = 1; i < rare.count; ++i) {
        code.step[rare.symbols[i]] = code.step[rare.symbols[0]];
        code.reciprocal[rare.symbols[i]] = code.reciprocal[rare.symbols[0]];
    }
}

std::size_t curve8_write(const Curve8& curve, unsigned bits, std::span<std::uint8_t> out) {
    BitWriter writer(out);
    writer.put(curve.last, bits);
    writer.put(curve.spacing, kSpacingBits);
    writer.put(curve.coarseness, kCoarsenessBits);
    writer.put(curve.rare_level, kLevelBits);
    write_knots(writer, curve);
    writer.put_golomb(curve.num_exceptions, 0);
    for (unsigned i = 0; i < curve.num_exceptions; ++i) {
        writer.put(curve.symbols[i], bits);
        writer.put(curve.levels[i], kLevelBits);
    }
    return writer.finish();
}

Status curve8_read(std::span<const std::uint8_t> in, unsigned bits, Curve8& curve, std::size_t& used) {
    BitReader reader(in);
    curve.last = reader.get(bits);
    curve.spacing = reader.get(kSpacingBits);
    curve.coarseness = reader.get(kCoarsenessBits);
    curve.rare_level = static_cast<std::uint8_t>(reader.get(kLevelBits));
    if (curve.last == 0 || curve.spacing > kCurveMaxSpacing || curve.coarseness > kCurveMaxCoarseness || curve.rare_level > kCurveMaxLevel) {
        return reader.overrun() ? Status::truncated : Status::bad_table;
    }
    Status status = read_knots(reader, curve);
    if (status == Status::ok) status = read_exceptions(reader, bits, curve);
    if (reader.overrun()) return Status::truncated;
    if (status != Status::ok) return status;
    used = reader.bytes_used();
    const auto padding = static_cast<unsigned>(used * 8 - reader.bits_used());
    return padding > 0 && reader.peek(padding) != 0 ? Status::bad_table : Status::ok;
}

}  // namespace featcodec
