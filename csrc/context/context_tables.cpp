// Context coder: integer distributions that cost few bits, and the table section.
#include <algorithm>
#include <bit>

#include "bits.hpp"
#include "context_groups.hpp"

namespace featcodec {
namespace {

// ---- frequencies that cost few bits: `mantissa` bits after the leading one ------------------------------------------------
std::uint32_t level_frequency(std::uint32_t level, unsigned mantissa) {
    if (level < (2u << mantissa)) return level;
    const unsigned exponent = (level >> mantissa) - 1;
    return ((1u << mantissa) + (level & ((1u << mantissa) - 1))) << exponent;
}

// The highest level that is not above.
std::uint32_t floor_level(std::uint32_t frequency, unsigned mantissa) {
    if (frequency < (2u << mantissa)) return frequency;
    const unsigned exponent = static_cast<unsigned>(std::bit_width(frequency)) - 1 - mantissa;
    return (exponent << mantissa) + (frequency >> exponent);
}

std::uint32_t nearest_level(std::int64_t target, unsigned mantissa) {
    const auto wanted = static_cast<std::uint32_t>(std::clamp<std::int64_t>(target, 1, kFrequencySum - 1));
    const std::uint32_t below = floor_level(wanted, mantissa);
    const std::uint32_t gap_below = wanted - level_frequency(below, mantissa);
    const std::uint32_t gap_above = level_frequency(below + 1, mantissa) - wanted;
    return gap_above < gap_below ? below + 1 : below;
}

struct Quantised {
    std::array<std::uint32_t, kTokens> level{};
    unsigned dominant = 0;
};

// Frequencies follow from levels: the dominant token takes what the others leave. False where they leave nothing.
bool frequencies_from_levels(Quantised& table, unsigned mantissa, unsigned tokens, std::uint16_t* frequency) {
    std::uint32_t others = 0;
    for (unsigned t = 0; t < tokens; ++t) {
        if (t == table.dominant) continue;
        const std::uint32_t value = level_frequency(table.level[t], mantissa);
        if (value >= kFrequencySum) return false;
        frequency[t] = static_cast<std::uint16_t>(value);
        others += value;
    }
    if (others >= kFrequencySum) return false;
    if (others == 0) {  // no distribution may be certain: a frequency of 2^12 has no place in 12 bits
        frequency[table.dominant == 0 ? 1 : 0] = 1;
        others = 1;
    }
    frequency[table.dominant] = static_cast<std::uint16_t>(kFrequencySum - others);
    table.level[table.dominant] = floor_level(kFrequencySum - others, mantissa);
    return true;
}

// Rounding errors are carried on, so that the dominant token does not collect them.
Quantised quantise_row(const TokenRow& row, unsigned mantissa, unsigned tokens, std::uint16_t* frequency) {
    Quantised table;
    table.dominant = static_cast<unsigned>(std::max_element(row.begin(), row.end()) - row.begin());
    const std::int64_t total = std::max<std::int64_t>(total_of(row), 1);
    std::int64_t carried = 0;  // in 1/16 of a unit
    for (unsigned t = 0; t < tokens; ++t) {
        if (t == table.dominant || row[t] == 0) continue;
        const std::int64_t target = std::int64_t{row[t]} * kFrequencySum * 16 / total;
        table.level[t] = nearest_level((target + carried + 8) >> 4, mantissa);
        carried += target - std::int64_t{level_frequency(table.level[t], mantissa)} * 16;
    }
    while (!frequencies_from_levels(table, mantissa, tokens, frequency)) {
        auto largest = (table.dominant == 0) ? 1u : 0u;
        for (unsigned t = 0; t < tokens; ++t) {
            if (t != table.dominant && table.level[t] > table.level[largest]) largest = t;
        }
        --table.level[largest];
    }
    return table;
}

// ---- the table section: docs/context.md, "Adaptive tables" ----------------------------------------------------------------------
constexpr unsigned kGapOrder = 1;
constexpr std::uint32_t kMostGolomb = 1u << 20;  // no encoder comes near

bool get_golomb(BitReader& reader, std::uint32_t& value, unsigned order) {
    return reader.get_golomb(value, order) && value < kMostGolomb;
}

// What a level is expected to be: that of the same token in the table before; in the first table, of the token before.
std::uint32_t predicted_level(const Quantised& table, const Quantised* before, unsigned token, unsigned mantissa) {
    if (before != nullptr) return before->level[token];
    for (unsigned t = token; t-- > 0;) {
        if (t != table.dominant) return table.level[t];
    }
    return 8u << mantissa;
}

// Calls visit(residual) for each level that is sent of each table, in stream order, and enter(table) before each table's.
template <class Enter, class Visit>
void visit_levels(const ContextPlan& plan, Enter enter, Visit visit) {
    Quantised before;
    for (unsigned k = 0; k < plan.tables.tables; ++k) {
        Quantised table;
        const std::uint16_t* frequency = &plan.tables.frequencies[k * kTokens];
        table.dominant = plan.dominant[k];
        for (unsigned t = 0; t < kTokens; ++t) table.level[t] = floor_level(frequency[t], plan.mantissa_bits);
        enter(table.dominant);
        for (unsigned t = 0; t < plan.tables.tokens; ++t) {
            if (t == table.dominant) continue;
            const std::uint32_t expected = predicted_level(table, k > 0 ? &before : nullptr, t, plan.mantissa_bits);
            visit(zigzag(static_cast<int>(table.level[t]) - static_cast<int>(expected)));
        }
        before = table;
    }
}

std::uint32_t read_group_gap(BitReader& reader, bool& good) {
    std::uint32_t gap = 0;
    good = get_golomb(reader, gap, kGapOrder);
    return gap + 1;
}

Status read_levels(BitReader& reader, unsigned mantissa, unsigned order, ContextTables& tables) {
    Quantised before;
    for (unsigned k = 0; k < tables.tables; ++k) {
        Quantised table;
        const bool same = k > 0 && reader.get(1) != 0;
        table.dominant = same ? before.dominant : reader.get(4);
        if (table.dominant >= tables.tokens) return Status::bad_table;
        for (unsigned t = 0; t < tables.tokens; ++t) {
            if (t == table.dominant) continue;
            std::uint32_t residual = 0;
            if (!get_golomb(reader, residual, order)) return reader.overrun() ? Status::truncated : Status::bad_table;
            const int level = static_cast<int>(predicted_level(table, k > 0 ? &before : nullptr, t, mantissa)) + unzigzag(residual);
            if (level < 0 || level > static_cast<int>(floor_level(kFrequencySum - 1, mantissa))) return Status::bad_table;
            table.level[t] = static_cast<std::uint32_t>(level);
        }
        if (!frequencies_from_levels(table, mantissa, tables.tokens, &tables.frequencies[k * kTokens])) return Status::bad_table;
        before = table;
    }
    return Status::ok;
}

// Runs of raw contexts, in their order, that share a table: visit(size, table).
template <class Visit>
void visit_runs(const ContextTables& tables, Neighbours neighbours, Visit visit) {
    const unsigned size = order_size(neighbours);
    unsigned first = 0;
    for (unsigned place = 1; place <= size; ++place) {
        const unsigned table = tables.table_of[ordered_context(first, neighbours)];
        if (place < size && tables.table_of[ordered_context(place, neighbours)] == table) continue;
        visit(place - first, table);
        first = place;
    }
}

unsigned table_width(unsigned tables) { return static_cast<unsigned>(std::bit_width(tables - 1)); }

Status read_runs(BitReader& reader, Neighbours neighbours, ContextTables& tables) {
    const unsigned size = order_size(neighbours);
    unsigned place = 0;
    for (unsigned k = 0; place < size; ++k) {
        unsigned end = size;
        if (neighbours == Neighbours::gradient || k + 1 < tables.tables) {
            bool good = false;
            const std::uint32_t gap = read_group_gap(reader, good);
            if (!good) return reader.overrun() ? Status::truncated : Status::bad_table;
            // near: every table has a raw context
            if (gap > size - place || (neighbours != Neighbours::gradient && gap == size - place)) return Status::bad_table;
            end = place + gap;
        }
        const unsigned table = neighbours == Neighbours::gradient ? reader.get(table_width(tables.tables)) : k;
        if (table >= tables.tables) return Status::bad_table;
        for (; place < end; ++place) tables.table_of[ordered_context(place, neighbours)] = static_cast<std::uint8_t>(table);
    }
    return Status::ok;
}

}  // namespace

std::uint8_t context_quantise(const TokenRow& row, unsigned mantissa, unsigned tokens, std::uint16_t* frequency) {
    return static_cast<std::uint8_t>(quantise_row(row, mantissa, tokens, frequency).dominant);
}

std::uint64_t context_price_tables(ContextPlan& plan, unsigned bits) {
    const Neighbours neighbours = neighbours_of(plan.tables.neighbourhood, bits);
    std::array<std::uint64_t, 4> level_bits{};
    std::uint64_t other_bits = 5 + 4 + 2 + 2 + 4;
    unsigned previous = kTokens;
    visit_levels(
        plan,
        [&](unsigned dominant) {
            if (previous != kTokens) other_bits += previous == dominant ? 1 : 5;
            previous = dominant;
        },
        [&](std::uint32_t residual) {
            for (unsigned k = 0; k < 4; ++k) level_bits[k] += golomb_bits(residual, k);
        });
    plan.golomb_order = static_cast<unsigned>(std::min_element(level_bits.begin(), level_bits.end()) - level_bits.begin());
    const bool named = neighbours == Neighbours::gradient;
    visit_runs(plan.tables, neighbours, [&](unsigned size, unsigned table) {
        if (named || table + 1u < plan.tables.tables) other_bits += golomb_bits(size - 1, kGapOrder);
        if (named) other_bits += table_width(plan.tables.tables);
    });
    return other_bits + level_bits[plan.golomb_order];
}

void context_write_tables(const ContextPlan& plan, unsigned bits, BitWriter& writer) {
    const Neighbours neighbours = neighbours_of(plan.tables.neighbourhood, bits);
    writer.put(plan.tables.tables - 1u, 5);
    writer.put(plan.tables.tokens - 1u, 4);
    writer.put(plan.mantissa_bits, 2);
    writer.put(plan.golomb_order, 2);
    const bool named = neighbours == Neighbours::gradient;
    visit_runs(plan.tables, neighbours, [&](unsigned size, unsigned table) {
        if (named || table + 1u < plan.tables.tables) writer.put_golomb(size - 1, kGapOrder);
        if (named) writer.put(table, table_width(plan.tables.tables));
    });
    unsigned previous = kTokens;
    visit_levels(
        plan,
        [&](unsigned dominant) {
            if (previous != kTokens) writer.put(previous == dominant ? 1 : 0, 1);
            if (previous != dominant) writer.put(dominant, 4);
            previous = dominant;
        },
        [&](std::uint32_t residual) { writer.put_golomb(residual, plan.golomb_order); });
}

Status context_read_tables(BitReader& reader, unsigned bits, ContextTables& tables) {
    tables.tables = static_cast<std::uint8_t>(reader.get(5) + 1);
    tables.tokens = static_cast<std::uint8_t>(reader.get(4) + 1);
    const unsigned mantissa = reader.get(2);
    const unsigned order = reader.get(2);
    if (reader.overrun()) return Status::truncated;
    if (tables.tokens < 2) return Status::bad_table;
    Status status = read_runs(reader, neighbours_of(tables.neighbourhood, bits), tables);
    if (status == Status::ok) status = read_levels(reader, mantissa, order, tables);
    if (status != Status::ok) return status;
    return reader.overrun() ? Status::truncated : Status::ok;
}

}  // namespace featcodec
