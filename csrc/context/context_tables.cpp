// Context coder: merging contexts, integer distributions, the table section and what all of it costs.
#include <algorithm>
#include <bit>

#include "bits.hpp"
#include "context_internal.hpp"

namespace featcodec {
namespace {

using Row = std::array<std::uint32_t, kTokens>;

// ---- fixed-point logarithms: the encoder's choices must not depend on a floating-point library ---------------------------
constexpr unsigned kLogFraction = 16;
constexpr unsigned kLogIndex = 10;

constexpr std::array<std::uint32_t, (1u << kLogIndex)> make_log_table() {
    std::array<std::uint32_t, (1u << kLogIndex)> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint64_t x = (std::uint64_t{(1u << kLogIndex) + i} << 1 | 1) << (31 - kLogIndex - 1);  // midpoint, 1.0 = 2^31
        std::uint32_t log = 0;
        for (unsigned bit = 0; bit < kLogFraction; ++bit) {
            x = (x * x) >> 31;
            log <<= 1;
            if (x >> 32 != 0) {
                x >>= 1;
                log |= 1;
            }
        }
        table[i] = log;
    }
    return table;
}
constexpr auto kLogTable = make_log_table();

// log2(value) * 2^16, value >= 1, within 2^-10.
std::uint32_t log2_fixed(std::uint32_t value) {
    const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1;
    const std::uint32_t mantissa = exponent >= kLogIndex ? value >> (exponent - kLogIndex) : value << (kLogIndex - exponent);
    const std::uint32_t fraction = (value & (value - 1)) == 0 ? 0 : kLogTable[mantissa & ((1u << kLogIndex) - 1)];
    return (exponent << kLogFraction) + fraction;
}

std::int64_t x_log_x(std::uint32_t count) { return count == 0 ? 0 : std::int64_t{count} * log2_fixed(count); }

std::uint32_t total_of(const Row& row) {
    std::uint32_t total = 0;
    for (const std::uint32_t count : row) total += count;
    return total;
}

Row sum_of(const Row& a, const Row& b) {
    Row sum{};
    for (unsigned t = 0; t < kTokens; ++t) sum[t] = a[t] + b[t];
    return sum;
}

// ---- the order in which raw contexts may be merged: neighbours are alike --------------------------------------------------
constexpr unsigned kWideContexts = 62;

// Wide: by left + up, first those that differ by less than 2. Narrow: by left + up, then up's share, then the corners.
unsigned order_size(bool narrow) { return narrow ? kRawContexts : kWideContexts; }

unsigned ordered_context(unsigned place, bool narrow) {
    if (!narrow) return place < 31 ? place : place + 1;
    static constexpr std::array<std::uint8_t, 16> kPairs = {0, 4, 1, 8, 5, 2, 12, 9, 6, 3, 13, 10, 7, 14, 11, 15};  // left * 4 + up
    const unsigned left = kPairs[place / 4] / 4;
    const unsigned up = kPairs[place / 4] % 4;
    return up * 16 + left * 4 + place % 4;
}

// Consecutive contexts in that order, merged.
struct Group {
    Row row{};
    unsigned first = 0;  // place in the order
};

struct Grouping {
    std::array<Group, kRawContexts> storage;
    std::array<std::uint8_t, kRawContexts> index{};  // groups in order: rows need not move when one goes
    unsigned size = 0;

    Group& at(unsigned group) { return storage[index[group]]; }
    const Group& at(unsigned group) const { return storage[index[group]]; }
    void add(const Row& row, unsigned first) {
        index[size] = static_cast<std::uint8_t>(size);
        storage[size++] = {row, first};
    }

    void merge(unsigned group) {  // with the one after
        for (unsigned t = 0; t < kTokens; ++t) at(group).row[t] += at(group + 1).row[t];
        for (unsigned g = group + 1; g + 1 < size; ++g) index[g] = index[g + 1];
        --size;
    }
};

// Every seen context is a group; below `floor` symbols it joins the one before, which saves the exact comparison.
Grouping start_groups(const ContextCounts& counts, bool narrow, std::uint32_t floor) {
    Grouping grouping;
    std::uint32_t weight = 0;
    for (unsigned place = 0; place < order_size(narrow); ++place) {
        Row row{};
        std::copy_n(counts.begin() + ordered_context(place, narrow) * kTokens, kTokens, row.begin());
        const std::uint32_t total = total_of(row);
        if (total == 0) continue;
        if (grouping.size == 0 || weight >= floor) {
            grouping.add(row, place);
            weight = total;
        } else {
            Row& last = grouping.at(grouping.size - 1).row;
            last = sum_of(last, row);
            weight += total;
        }
    }
    if (grouping.size == 0) grouping.add(Row{}, 0);
    grouping.at(0).first = 0;
    return grouping;
}

// Merges the cheapest neighbours until a table fewer no longer pays; `entry_bits` is what an entry of a table costs.
void merge_groups(Grouping& grouping, unsigned entry_bits) {
    std::array<std::int64_t, kRawContexts> loss{};
    const auto measure = [&](unsigned at) {
        const Group& a = grouping.at(at);
        const Group& b = grouping.at(at + 1);
        const std::uint32_t total_a = total_of(a.row);
        const std::uint32_t total_b = total_of(b.row);
        // Tokens seen on one side only cancel out; the others save an entry.
        std::int64_t change = x_log_x(total_a + total_b) - x_log_x(total_a) - x_log_x(total_b);
        for (unsigned t = 0; t < kTokens; ++t) {
            if (a.row[t] == 0 || b.row[t] == 0) continue;
            change -= x_log_x(a.row[t] + b.row[t]) - x_log_x(a.row[t]) - x_log_x(b.row[t]);
            change -= std::int64_t{entry_bits} << kLogFraction;
        }
        loss[at] = change;
    };
    for (unsigned at = 0; at + 1 < grouping.size; ++at) measure(at);
    while (grouping.size > 1) {
        const auto at = static_cast<unsigned>(std::min_element(loss.begin(), loss.begin() + (grouping.size - 1)) - loss.begin());
        if (grouping.size <= kContextTables && loss[at] > 0) break;
        grouping.merge(at);
        for (unsigned g = at + 1; g + 1 < grouping.size; ++g) loss[g] = loss[g + 1];
        if (at + 1 < grouping.size) measure(at);
        if (at > 0) measure(at - 1);
    }
}

void assign_contexts(const Grouping& grouping, bool narrow, ContextTables& tables) {
    tables.tables = static_cast<std::uint8_t>(grouping.size);
    unsigned group = 0;
    for (unsigned place = 0; place < order_size(narrow); ++place) {
        if (group + 1 < grouping.size && grouping.at(group + 1).first == place) ++group;
        tables.table_of[ordered_context(place, narrow)] = static_cast<std::uint8_t>(group);
    }
}

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
Quantised quantise_row(const Row& row, unsigned mantissa, unsigned tokens, std::uint16_t* frequency) {
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

// ---- the table section: HEADER.md, "Adaptive tables" ----------------------------------------------------------------------
constexpr unsigned kGapOrder = 1;

std::uint32_t zigzag(int value) { return value >= 0 ? 2u * static_cast<unsigned>(value) : 2u * static_cast<unsigned>(-value) - 1u; }
int unzigzag(std::uint32_t code) { return (code & 1u) == 0 ? static_cast<int>(code >> 1) : -static_cast<int>(code >> 1) - 1; }

unsigned golomb_bits(std::uint32_t value, unsigned order) {
    return 2 * static_cast<unsigned>(std::bit_width((value >> order) + 1)) - 1 + order;
}

void put_golomb(BitWriter& writer, std::uint32_t value, unsigned order) {
    writer.put_gamma((value >> order) + 1);
    writer.put(value & ((1u << order) - 1), order);
}

bool get_golomb(BitReader& reader, std::uint32_t& value, unsigned order) {
    if (!reader.get_gamma(value)) return false;
    if (value > (1u << 20)) return false;
    value = ((value - 1) << order) | reader.get(order);
    return true;
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

std::uint64_t extra_bits(const ContextCounts& counts, unsigned bits) {
    const TokenClasses classes = token_classes(bits);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) total += std::uint64_t{counts[i]} * classes.extra[i % kTokens];
    return total;
}

// The size of states and words: 4 bytes a lane, of which about one carries symbols.
std::uint64_t coded_bytes(const ContextCounts& counts, const ContextTables& tables, const ContextShape& shape) {
    std::uint64_t cost = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] == 0) continue;
        const std::uint32_t frequency = tables.frequencies[tables.table_of[i / kTokens] * kTokens + i % kTokens];
        const std::uint32_t log = frequency == 0 ? 0 : log2_fixed(frequency);
        cost += std::uint64_t{counts[i]} * ((kFrequencyBits << kLogFraction) - log);
    }
    return (cost >> (kLogFraction + 3)) + 3 * std::uint64_t{lane_layout(shape).lanes};
}

std::uint64_t extra_section_bytes(const ContextCounts& counts, unsigned bits) {
    if (token_classes(bits).raw) return 0;
    const std::uint64_t bytes = (extra_bits(counts, bits) + 7) / 8;
    return bytes + (static_cast<std::uint64_t>(std::bit_width(bytes | 1)) + 6) / 7;
}

}  // namespace

ContextTables context_train(const ContextCounts& counts, unsigned bits) {
    const bool narrow = bits <= kNarrowBits;
    const unsigned tokens = token_classes(bits).count;
    Grouping grouping = start_groups(counts, narrow, 1);
    merge_groups(grouping, 2);
    ContextTables tables;
    tables.tokens = static_cast<std::uint8_t>(std::max(tokens, 2u));
    assign_contexts(grouping, narrow, tables);
    std::array<std::uint64_t, kTokens> all{};
    for (unsigned g = 0; g < grouping.size; ++g) {
        for (unsigned t = 0; t < tokens; ++t) all[t] += grouping.at(g).row[t];
    }
    std::uint64_t all_total = tokens;
    for (unsigned t = 0; t < tokens; ++t) all_total += all[t];
    for (unsigned g = 0; g < grouping.size; ++g) {
        const Row& row = grouping.at(g).row;
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
    const unsigned alphabet = std::max(token_classes(bits).count, 2u);
    if (tables.tables < 1 || tables.tables > kContextTables) return Status::bad_table;
    if (tables.tokens < 2 || tables.tokens > alphabet || (is_static && tables.tokens != alphabet)) return Status::bad_table;
    model.tokens = tables.tokens;
    model.narrow = bits <= kNarrowBits;
    model.keys.fill(0);
    for (unsigned k = 0; k < tables.tables; ++k) {
        const std::uint16_t* frequency = &tables.frequencies[k * kTokens];
        std::uint32_t start = 0;
        for (unsigned t = 0; t < kTokens; ++t) {
            const std::uint32_t f = frequency[t];
            if (f >= kFrequencySum || (t >= tables.tokens && f != 0) || (is_static && t < tables.tokens && f == 0)) return Status::bad_table;
            model.starts[k * (kTokens + 1) + t] = static_cast<std::uint16_t>(start);
            // Tokens that start past the last slot repeat the key before them: reached with it, they change nothing.
            const unsigned before = t > 0 ? model.keys[(t - 1) * kContextTables + k] : 0u;
            const auto key = static_cast<std::uint16_t>(start < kFrequencySum ? start * 16 + t : before);
            model.keys[t * kContextTables + k] = key;
            model.rows[k * kTokens + t] = static_cast<std::uint16_t>(start);
            start += f;
        }
        if (start != kFrequencySum) return Status::bad_table;
        model.starts[k * (kTokens + 1) + kTokens] = kFrequencySum;
    }
    for (unsigned c = 0; c < kRawContexts; ++c) {
        const unsigned k = tables.table_of[c];
        if (k >= tables.tables) return Status::bad_table;
        model.table_of[c] = static_cast<std::uint16_t>(k);
        for (unsigned t = 0; t < kTokens; ++t) {
            model.code[c * kTokens + t] = (std::uint32_t{model.starts[k * (kTokens + 1) + t]} << 16) | tables.frequencies[k * kTokens + t];
        }
    }
    return Status::ok;
}

ContextPlan context_plan(const ContextCounts& counts, const ContextShape& shape, unsigned bits) {
    const bool narrow = bits <= kNarrowBits;
    const std::size_t symbols = shape.maps * shape.height * shape.width;
    ContextPlan plan;
    plan.mantissa_bits = symbols < 65536 ? 2 : 3;
    // Below 16 K symbols few tables can pay: start the merging from few groups, for its time.
    Grouping grouping = start_groups(counts, narrow, symbols < 16384 ? static_cast<std::uint32_t>(symbols / 24) : static_cast<std::uint32_t>(std::min<std::size_t>(symbols / 1024, 128)));
    merge_groups(grouping, plan.mantissa_bits + 3);
    assign_contexts(grouping, narrow, plan.tables);
    unsigned tokens = 2;
    for (unsigned g = 0; g < grouping.size; ++g) {
        for (unsigned t = tokens; t < kTokens; ++t) tokens = grouping.at(g).row[t] > 0 ? t + 1 : tokens;
    }
    plan.tables.tokens = static_cast<std::uint8_t>(tokens);
    for (unsigned g = 0; g < grouping.size; ++g) {
        const Quantised table = quantise_row(grouping.at(g).row, plan.mantissa_bits, tokens, &plan.tables.frequencies[g * kTokens]);
        plan.dominant[g] = static_cast<std::uint8_t>(table.dominant);
    }
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
    for (unsigned g = 1; g < grouping.size; ++g) {
        other_bits += golomb_bits(grouping.at(g).first - grouping.at(g - 1).first - 1, kGapOrder);
    }
    plan.table_bits = other_bits + level_bits[plan.golomb_order];
    plan.size_bytes = (plan.table_bits + 7) / 8 + coded_bytes(counts, plan.tables, shape) + extra_section_bytes(counts, bits);
    return plan;
}

std::uint64_t context_static_cost(const ContextCounts& counts, const ContextModel& model, const ContextShape& shape, unsigned bits) {
    std::uint64_t cost = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] == 0) continue;
        const std::uint32_t frequency = model.code[i] & 0xFFFF;
        cost += std::uint64_t{counts[i]} * ((kFrequencyBits << kLogFraction) - (frequency == 0 ? 0 : log2_fixed(frequency)));
    }
    return (cost >> (kLogFraction + 3)) + 3 * std::uint64_t{lane_layout(shape).lanes} + extra_section_bytes(counts, bits);
}

void context_write_tables(const ContextPlan& plan, unsigned bits, BitWriter& writer) {
    const bool narrow = bits <= kNarrowBits;
    writer.put(plan.tables.tables - 1u, 5);
    writer.put(plan.tables.tokens - 1u, 4);
    writer.put(plan.mantissa_bits, 2);
    writer.put(plan.golomb_order, 2);
    unsigned group = 0;
    unsigned first = 0;
    for (unsigned place = 1; place < order_size(narrow); ++place) {
        if (plan.tables.table_of[ordered_context(place, narrow)] == group) continue;
        put_golomb(writer, place - first - 1, kGapOrder);
        first = place;
        ++group;
    }
    unsigned previous = kTokens;
    visit_levels(
        plan,
        [&](unsigned dominant) {
            if (previous != kTokens) writer.put(previous == dominant ? 1 : 0, 1);
            if (previous != dominant) writer.put(dominant, 4);
            previous = dominant;
        },
        [&](std::uint32_t residual) { put_golomb(writer, residual, plan.golomb_order); });
}

Status context_read_tables(BitReader& reader, unsigned bits, ContextTables& tables) {
    const bool narrow = bits <= kNarrowBits;
    tables.tables = static_cast<std::uint8_t>(reader.get(5) + 1);
    tables.tokens = static_cast<std::uint8_t>(reader.get(4) + 1);
    const unsigned mantissa = reader.get(2);
    const unsigned order = reader.get(2);
    if (reader.overrun()) return Status::truncated;
    if (tables.tokens < 2) return Status::bad_table;
    unsigned place = 0;
    for (unsigned k = 0; k < tables.tables; ++k) {
        unsigned end = order_size(narrow);
        if (k + 1 < tables.tables) {
            bool good = false;
            const std::uint32_t gap = read_group_gap(reader, good);
            if (!good) return reader.overrun() ? Status::truncated : Status::bad_table;
            if (gap >= end - place) return Status::bad_table;
            end = place + gap;
        }
        for (; place < end; ++place) tables.table_of[ordered_context(place, narrow)] = static_cast<std::uint8_t>(k);
    }
    const Status status = read_levels(reader, mantissa, order, tables);
    if (status != Status::ok) return status;
    return reader.overrun() ? Status::truncated : Status::ok;
}

}  // namespace featcodec
