// Context coder: tables from counts, the form the kernels read, and what all of it costs.
#include <algorithm>
#include <bit>

#include "context_groups.hpp"

namespace featcodec {
namespace {

std::uint64_t extra_bits(const ContextCounts& counts, unsigned bits, Neighbourhood neighbourhood) {
    const TokenClasses classes = token_classes(bits, neighbourhood);
    std::uint64_t total = 0;
    if (classes.raw) return total;
    for (std::size_t i = 0; i < counts.size(); ++i) total += std::uint64_t{counts[i]} * classes.extra[i % kTokens];
    return total;
}

std::uint64_t extra_section_bytes(const ContextCounts& counts, unsigned bits, Neighbourhood neighbourhood) {
    if (token_classes(bits, neighbourhood).raw) return 0;
    const std::uint64_t bytes = (extra_bits(counts, bits, neighbourhood) + 7) / 8;
    return bytes + (static_cast<std::uint64_t>(std::bit_width(bytes | 1)) + 6) / 7;
}

// The size of the words, states left out; frequency(place): of a count at that place.
template <class Counts, class Frequency>
std::uint64_t words_bytes(const Counts& counts, Frequency frequency) {
    std::uint64_t cost = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] == 0) continue;
        const std::uint32_t f = frequency(i);
        cost += std::uint64_t{counts[i]} * ((kFrequencyBits << kLogFraction) - (f == 0 ? 0 : log2_fixed(f)));
    }
    return cost >> (kLogFraction + 3);
}

void lay_out_codes(ContextModel& model) {
    const auto& from = model.table_bytes;
    auto& to = model.table_of_code;
    if (model.neighbourhood == Neighbourhood::gradient) {
        static constexpr std::array<unsigned, 3> kSigns = {2, 0, 1};
        for (unsigned level = 0; level < 16; ++level) {
            for (unsigned i = 0; i < 15; ++i) to[16 * level + i] = from[(level * 5 + i / 3) * 3 + kSigns[i % 3]];
        }
    } else if (model.bits <= kNarrowBits) {
        for (unsigned i = 0; i < 64; ++i) to[i] = from[(i & 48) + 4 * (i % 4) + i / 4 % 4];
        for (unsigned left = 0; left < 4; ++left) to[64 + left] = from[20 * left + std::min(2 * left, 3u)];
    } else {
        std::copy_n(from.begin(), kNearContexts, to.begin());
    }
}

// 4 bytes a lane, of which about one carries symbols.
// A state takes 27.5 bits on average, of which 7.5 carry symbols.
std::uint64_t states_bytes(const ContextShape& shape) { return 5 * std::uint64_t{lane_layout(shape).lanes} / 2; }

}  // namespace

ContextTables context_train(const ContextCounts& counts, unsigned bits, Neighbourhood neighbourhood) {
    const unsigned tokens = token_classes(bits, neighbourhood).count;
    const Grouping grouping = group_contexts(counts, neighbours_of(neighbourhood, bits), 1, 2);
    ContextTables tables;
    tables.neighbourhood = neighbourhood;
    tables.tokens = static_cast<std::uint8_t>(std::max(tokens, 2u));
    tables.tables = static_cast<std::uint8_t>(grouping.size);
    tables.table_of = grouping.group_of;
    std::array<std::uint64_t, kTokens> all{};
    for (unsigned g = 0; g < grouping.size; ++g) {
        for (unsigned t = 0; t < tokens; ++t) all[t] += grouping.rows[g][t];
    }
    std::uint64_t all_total = tokens;
    for (unsigned t = 0; t < tokens; ++t) all_total += all[t];
    for (unsigned g = 0; g < grouping.size; ++g) {
        const TokenRow& row = grouping.rows[g];
        std::uint16_t* frequency = &tables.frequencies[g * kTokens];
        // Two symbols' worth of the aggregate in each context; every token keeps at least 1 of 2^12.
        const std::uint64_t total = (std::uint64_t{total_of(row)} + 2) << 16;
        const std::uint64_t spare = kFrequencySum - tokens;
        std::uint32_t sum = 0;
        for (unsigned t = 0; t < tokens; ++t) {
            const std::uint64_t weight = (std::uint64_t{row[t]} << 16) + ((2 * (all[t] + 1)) << 16) / all_total;
            frequency[t] = static_cast<std::uint16_t>(1 + weight * spare / total);
            sum += frequency[t];
        }
        auto* largest = std::max_element(frequency, frequency + tokens);
        *largest = static_cast<std::uint16_t>(*largest + kFrequencySum - sum);
    }
    return tables;
}

Status context_model(const ContextTables& tables, unsigned bits, bool is_static, ContextModel& model) {
    if (tables.neighbourhood == Neighbourhood::gradient && bits > kGradientBits) return Status::bad_table;
    const TokenClasses classes = token_classes(bits, tables.neighbourhood);
    const unsigned alphabet = std::max(classes.count, 2u);
    if (tables.tables < 1 || tables.tables > kContextTables) return Status::bad_table;
    if (tables.tokens < 2 || tables.tokens > alphabet || (is_static && tables.tokens != alphabet)) return Status::bad_table;
    model.tables = tables.tables;
    model.tokens = tables.tokens;
    model.bits = bits;
    model.neighbourhood = tables.neighbourhood;
    for (unsigned k = 0; bits <= kGradientBits && k < classes.count; ++k) {
        model.base[k] = static_cast<std::uint8_t>(classes.base[k]);
        model.extra[k] = classes.extra[k];
        model.mask[k] = static_cast<std::uint8_t>((1u << classes.extra[k]) - 1);
    }
    for (unsigned k = 0; k < tables.tables; ++k) {
        const std::uint16_t* frequency = &tables.frequencies[k * kTokens];
        std::uint32_t start = 0;
        for (unsigned t = 0; t < kTokens; ++t) {
            const std::uint32_t f = frequency[t];
            if (f >= kFrequencySum || (t >= tables.tokens && f != 0) || (is_static && t < tables.tokens && f == 0)) return Status::bad_table;
            model.starts[k * (kTokens + 1) + t] = static_cast<std::uint16_t>(start);
            model.start_of[t * kContextTables + k] = static_cast<std::uint16_t>(start);
            if (k < 16 && t % 4 != 0) model.fine_starts[(t % 4 - 1) * 64 + k * 4 + 3 - t / 4] = static_cast<std::uint16_t>(start);
            model.rows[k * kTokens + t] = static_cast<std::uint16_t>(start);
            start += f;
        }
        if (start != kFrequencySum) return Status::bad_table;
        model.starts[k * (kTokens + 1) + kTokens] = kFrequencySum;
    }
    for (unsigned c = 0; c < contexts_of(neighbours_of(tables.neighbourhood, bits)); ++c) {
        const unsigned k = tables.table_of[c];
        if (k >= tables.tables) return Status::bad_table;
        model.table_bytes[c] = static_cast<std::uint8_t>(k);
        for (unsigned t = 0; t < kTokens; ++t) {
            model.code[c * kTokens + t] = (std::uint32_t{model.starts[k * (kTokens + 1) + t]} << 16) | tables.frequencies[k * kTokens + t];
        }
    }
    lay_out_codes(model);
    return Status::ok;
}

namespace {

// The tables of a plan with so many bits of mantissa, and what they cost.
ContextPlan quantised_plan(const Grouping& grouping, unsigned bits, Neighbourhood neighbourhood, unsigned mantissa) {
    ContextPlan plan;
    plan.mantissa_bits = mantissa;
    plan.tables.neighbourhood = neighbourhood;
    plan.tables.tables = static_cast<std::uint8_t>(grouping.size);
    plan.tables.table_of = grouping.group_of;
    unsigned tokens = 2;
    for (unsigned g = 0; g < grouping.size; ++g) {
        for (unsigned t = tokens; t < kTokens; ++t) tokens = grouping.rows[g][t] > 0 ? t + 1 : tokens;
    }
    plan.tables.tokens = static_cast<std::uint8_t>(tokens);
    for (unsigned g = 0; g < grouping.size; ++g) {
        plan.dominant[g] = context_quantise(grouping.rows[g], mantissa, tokens, &plan.tables.frequencies[g * kTokens]);
    }
    plan.table_bits = context_price_tables(plan, bits);
    std::array<std::uint32_t, kContextTables * kTokens> counts{};
    for (unsigned g = 0; g < grouping.size; ++g) std::copy(grouping.rows[g].begin(), grouping.rows[g].end(), counts.begin() + g * kTokens);
    plan.coded_bytes = words_bytes(counts, [&](std::size_t i) { return std::uint32_t{plan.tables.frequencies[i]}; });
    return plan;
}

}  // namespace

ContextPlan context_plan(const ContextCounts& counts, const ContextShape& shape, unsigned bits, Neighbourhood neighbourhood) {
    const std::size_t symbols = shape.maps * shape.height * shape.width;
    const unsigned mantissa = symbols < 65536 ? 2 : 3;
    // Below 16 K symbols few tables can pay: start the merging from few groups, for its time.
    const std::size_t floor = symbols < 16384 ? symbols / 128 : std::min<std::size_t>(symbols / 1024, 128);
    const Grouping grouping = group_contexts(counts, neighbours_of(neighbourhood, bits), static_cast<std::uint32_t>(floor), mantissa + (symbols < 16384 ? 6 : 3));
    ContextPlan plan = quantised_plan(grouping, bits, neighbourhood, mantissa);
    for (unsigned fewer = mantissa; symbols < 65536 && fewer-- > 0;) {
        const ContextPlan coarse = quantised_plan(grouping, bits, neighbourhood, fewer);
        if (coarse.table_bits / 8 + coarse.coded_bytes < plan.table_bits / 8 + plan.coded_bytes) plan = coarse;
    }
    plan.size_bytes = (plan.table_bits + 7) / 8 + plan.coded_bytes + states_bytes(shape) + extra_section_bytes(counts, bits, neighbourhood);
    return plan;
}

std::uint64_t context_static_cost(const ContextCounts& counts, const ContextModel& model, const ContextShape& shape, unsigned bits) {
    const std::uint64_t words = words_bytes(counts, [&](std::size_t i) { return model.code[i] & 0xFFFF; });
    return words + states_bytes(shape) + extra_section_bytes(counts, bits, model.neighbourhood);
}

namespace {

// Bits, in 2^-16, that the symbols of a sample take. Its own entropy is too low by 1 / (2 ln 2) for each frequency that it sets
// (Miller, Madow).
std::int64_t sample_bits(const ContextCounts& counts, unsigned bits, Neighbourhood neighbourhood) {
    std::int64_t total = static_cast<std::int64_t>(extra_bits(counts, bits, neighbourhood)) << kLogFraction;
    std::int64_t set = 0;
    for (unsigned c = 0; c < kRawContexts; ++c) {
        TokenRow row;
        std::copy_n(counts.begin() + c * kTokens, kTokens, row.begin());
        if (total_of(row) == 0) continue;
        total += entropy_fixed(row);
        set += kTokens - std::count(row.begin(), row.end(), 0u);
    }
    return total + ((3 * set) << kLogFraction) / 4;
}

}  // namespace

Neighbourhood context_choose(const ContextCounts& near, const ContextCounts& gradient, unsigned bits) {
    if (bits > kGradientBits) return Neighbourhood::near;
    const std::int64_t one = sample_bits(near, bits, Neighbourhood::near);
    const std::int64_t other = sample_bits(gradient, bits, Neighbourhood::gradient);
    return other < one - one / 40 ? Neighbourhood::gradient : Neighbourhood::near;  // near decodes half as fast again
}

unsigned context_rate(const ContextCounts& counts, const ContextTables& tables) {
    std::uint64_t symbols = 0;
    for (const std::uint32_t count : counts) symbols += count;
    if (symbols == 0) return 16 * kFrequencyBits;
    const std::uint64_t bytes =
        words_bytes(counts, [&](std::size_t i) { return std::uint32_t{tables.frequencies[tables.table_of[i / kTokens] * kTokens + i % kTokens]}; });
    return static_cast<unsigned>(std::max<std::uint64_t>(bytes * 8 * 16 / symbols, 1));
}

unsigned context_lanes_for(std::uint64_t coded_bytes, const ContextShape& shape, unsigned least) {
    // What 64, 32, ... 2 lanes want to be worth their bytes: each step up to 32 nearly halves the time, for 1.6 % at most.
    static constexpr std::array<std::uint64_t, 6> kLeast = {24576, 3072, 2048, 768, 384, 192};
    const std::size_t rows = shape.maps * shape.height;
    unsigned lanes = context_lanes(shape);
    for (unsigned step = 0; step < kLeast.size(); ++step) {
        const unsigned tried = 64u >> step;
        if (lanes < tried) continue;
        if (lanes <= least) break;
        // Lanes that begin within maps lose the row above: that is dear where they have few rows.
        const bool splits = tried > 16 && rows < 64 * std::size_t{tried} && shape.maps % tried != 0 && shape.maps % (tried / 2) == 0;
        if (coded_bytes >= kLeast[step] && !splits) break;
        lanes = tried / 2;
    }
    return lanes;
}

}  // namespace featcodec
