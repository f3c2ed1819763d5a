// Context coder: raw contexts that are alike share a table.
#include "context_groups.hpp"

#include <algorithm>
#include <bit>

#include "scratch.hpp"

namespace featcodec {
namespace {

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

std::int64_t x_log_x(std::uint32_t count) { return count == 0 ? 0 : std::int64_t{count} * log2_fixed(count); }

TokenRow sum_of(const TokenRow& a, const TokenRow& b) {
    TokenRow sum{};
    for (unsigned t = 0; t < kTokens; ++t) sum[t] = a[t] + b[t];
    return sum;
}

constexpr unsigned kWideContexts = 62;
constexpr unsigned kLevels = 16;       // of gradient's roughness
constexpr unsigned kMostRuns = 48;     // gradient: groups that are compared each with each
constexpr unsigned kRunBits = 8;       // gradient: what another run of contexts with one table costs
constexpr unsigned kFewTables = 16;    // two neighbours: decoders find tokens sooner among so many, and more gain little

// Consecutive contexts in that order, merged.
struct Group {
    TokenRow row{};
    unsigned first = 0;  // place in the order
};

struct Chain {
    std::array<Group, kRawContexts> storage;
    std::array<std::uint8_t, kRawContexts> index{};  // groups in order: rows need not move when one goes
    unsigned size = 0;

    Group& at(unsigned group) { return storage[index[group]]; }
    const Group& at(unsigned group) const { return storage[index[group]]; }
    void add(const TokenRow& row, unsigned first) {
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
Chain& start_groups(const ContextCounts& counts, Neighbours neighbours, std::uint32_t floor) {
    Chain& chain = thread_room<Chain>();
    chain.size = 0;
    std::uint32_t weight = 0;
    for (unsigned place = 0; place < order_size(neighbours); ++place) {
        TokenRow row{};
        std::copy_n(counts.begin() + ordered_context(place, neighbours) * kTokens, kTokens, row.begin());
        const std::uint32_t total = total_of(row);
        if (total == 0) continue;
        if (chain.size == 0 || weight >= floor) {
            chain.add(row, place);
            weight = total;
        } else {
            TokenRow& last = chain.at(chain.size - 1).row;
            last = sum_of(last, row);
            weight += total;
        }
    }
    if (chain.size == 0) chain.add(TokenRow{}, 0);
    chain.at(0).first = 0;
    return chain;
}

// Merges the cheapest neighbours until a table fewer no longer pays; `entry_bits` is what an entry of a table costs.
void merge_neighbours(Chain& chain, unsigned entry_bits, unsigned run_bits, unsigned most) {
    std::array<std::int64_t, kRawContexts> loss{};
    const auto measure = [&](unsigned at) {
        const Group& a = chain.at(at);
        const Group& b = chain.at(at + 1);
        const std::uint32_t total_a = total_of(a.row);
        const std::uint32_t total_b = total_of(b.row);
        // Tokens seen on one side only cancel out; the others save an entry.
        std::int64_t change = x_log_x(total_a + total_b) - x_log_x(total_a) - x_log_x(total_b);
        for (unsigned t = 0; t < kTokens; ++t) {
            if (a.row[t] == 0 || b.row[t] == 0) continue;
            change -= x_log_x(a.row[t] + b.row[t]) - x_log_x(a.row[t]) - x_log_x(b.row[t]);
            change -= std::int64_t{entry_bits} << kLogFraction;
        }
        loss[at] = change - (std::int64_t{run_bits} << kLogFraction);
    };
    for (unsigned at = 0; at + 1 < chain.size; ++at) measure(at);
    while (chain.size > 1) {
        const auto at = static_cast<unsigned>(std::min_element(loss.begin(), loss.begin() + (chain.size - 1)) - loss.begin());
        if (chain.size <= most && loss[at] > 0) break;
        chain.merge(at);
        for (unsigned g = at + 1; g + 1 < chain.size; ++g) loss[g] = loss[g + 1];
        if (at + 1 < chain.size) measure(at);
        if (at > 0) measure(at - 1);
    }
}


void assign(const Chain& chain, Neighbours neighbours, Grouping& grouping) {
    unsigned group = 0;
    for (unsigned place = 0; place < order_size(neighbours); ++place) {
        if (group + 1 < chain.size && chain.at(group + 1).first == place) ++group;
        grouping.group_of[ordered_context(place, neighbours)] = static_cast<std::uint8_t>(group);
    }
}

// Merges any two groups, the cheapest first, until a table fewer no longer pays.
void merge_any(Chain& chain, unsigned entry_bits, Grouping& grouping) {
    const unsigned size = chain.size;
    std::array<std::int64_t, kMostRuns> own{};
    std::array<bool, kMostRuns> gone{};
    using Losses = std::array<std::array<std::int64_t, kMostRuns>, kMostRuns>;
    auto& loss = thread_room<Losses>();  // [a][b], a < b
    const auto measure = [&](unsigned a, unsigned b) {
        const TokenRow& one = chain.at(a).row;
        const TokenRow& other = chain.at(b).row;
        std::int64_t change = entropy_fixed(sum_of(one, other)) - own[a] - own[b];
        for (unsigned t = 0; t < kTokens; ++t) change -= one[t] != 0 && other[t] != 0 ? std::int64_t{entry_bits} << kLogFraction : 0;
        loss[a][b] = change;
    };
    for (unsigned a = 0; a < size; ++a) own[a] = entropy_fixed(chain.at(a).row);
    for (unsigned a = 0; a < size; ++a) {
        for (unsigned b = a + 1; b < size; ++b) measure(a, b);
    }
    std::array<std::uint8_t, kMostRuns> merged_into{};
    for (unsigned a = 0; a < size; ++a) merged_into[a] = static_cast<std::uint8_t>(a);
    for (unsigned left = size; left > 1; --left) {
        unsigned first = 0;
        unsigned second = 0;
        for (unsigned a = 0; a < size; ++a) {
            for (unsigned b = a + 1; b < size && !gone[a]; ++b) {
                if (gone[b] || (second != 0 && loss[a][b] >= loss[first][second])) continue;
                first = a;
                second = b;
            }
        }
        if (left <= kContextTables && loss[first][second] > 0) break;
        chain.at(first).row = sum_of(chain.at(first).row, chain.at(second).row);
        own[first] = entropy_fixed(chain.at(first).row);
        gone[second] = true;
        for (unsigned a = 0; a < size; ++a) merged_into[a] = merged_into[a] == second ? static_cast<std::uint8_t>(first) : merged_into[a];
        for (unsigned a = 0; a < size; ++a) {
            if (a != first && !gone[a]) measure(std::min(a, first), std::max(a, first));
        }
    }
    std::array<std::uint8_t, kMostRuns> number{};
    for (unsigned a = 0; a < size; ++a) {
        if (gone[a]) continue;
        number[a] = static_cast<std::uint8_t>(grouping.size);
        grouping.rows[grouping.size++] = chain.at(a).row;
    }
    for (std::uint8_t& group : grouping.group_of) group = number[merged_into[group]];
}

}  // namespace

// log2(value) * 2^16, value >= 1, within 2^-10.
std::uint32_t log2_fixed(std::uint32_t value) {
    const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1;
    const std::uint32_t mantissa = exponent >= kLogIndex ? value >> (exponent - kLogIndex) : value << (kLogIndex - exponent);
    const std::uint32_t fraction = (value & (value - 1)) == 0 ? 0 : kLogTable[mantissa & ((1u << kLogIndex) - 1)];
    return (exponent << kLogFraction) + fraction;
}

std::uint32_t total_of(const TokenRow& row) {
    std::uint32_t total = 0;
    for (const std::uint32_t count : row) total += count;
    return total;
}

std::int64_t entropy_fixed(const TokenRow& row) {
    std::int64_t bits = x_log_x(total_of(row));
    for (const std::uint32_t count : row) bits -= x_log_x(count);
    return bits;
}

// Two: by left + up, first those that differ by less than 2. Four: by left + up, then up's share, then the corners. Gradient: by what
// is not roughness, then by roughness.
unsigned order_size(Neighbours neighbours) {
    return neighbours == Neighbours::gradient ? kGradientContexts : neighbours == Neighbours::four ? kNearContexts : kWideContexts;
}

unsigned ordered_context(unsigned place, Neighbours neighbours) {
    if (neighbours == Neighbours::gradient) return (place % kLevels) * (kGradientContexts / kLevels) + place / kLevels;
    if (neighbours == Neighbours::two) return place < 31 ? place : place + 1;
    static constexpr std::array<std::uint8_t, 16> kPairs = {0, 4, 1, 8, 5, 2, 12, 9, 6, 3, 13, 10, 7, 14, 11, 15};  // left * 4 + up
    const unsigned left = kPairs[place / 4] / 4;
    const unsigned up = kPairs[place / 4] % 4;
    return up * 16 + left * 4 + place % 4;
}

Grouping group_contexts(const ContextCounts& counts, Neighbours neighbours, std::uint32_t floor, unsigned entry_bits) {
    const bool any = neighbours == Neighbours::gradient;
    const unsigned most = neighbours == Neighbours::two ? kFewTables : kContextTables;
    Chain& chain = start_groups(counts, neighbours, floor);
    merge_neighbours(chain, entry_bits, any ? kRunBits : 0, any ? kMostRuns : most);
    Grouping grouping;
    assign(chain, neighbours, grouping);
    if (any) {
        merge_any(chain, entry_bits, grouping);
        return grouping;
    }
    grouping.size = chain.size;
    for (unsigned g = 0; g < chain.size; ++g) grouping.rows[g] = chain.at(g).row;
    return grouping;
}

}  // namespace featcodec
