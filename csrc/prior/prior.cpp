// Rows of integers by their tables, through arithmetic.hpp.
#include "prior.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>

#include "arithmetic.hpp"

namespace featcodec {
namespace {

static_assert(kPriorPrecision == kArithmeticPrecision);
constexpr std::size_t kEntries = kPriorWindow + 1;
constexpr unsigned kMostZeros = 17;  // of an escape: distances are below 4 * kPriorLimit

using Cumulative = std::array<std::uint32_t, kEntries + 1>;

void accumulate(const PriorTables& tables, std::size_t map, Cumulative& table) {
    std::uint32_t sum = 0;
    for (std::size_t k = 0; k < kEntries; ++k) {
        table[k] = sum;
        sum += static_cast<std::uint32_t>(tables.frequencies[map * kEntries + k]);
    }
    table[kEntries] = sum;
}

// Where a value's entry is looked for: at the one that holds the first value with its upper byte, and from there on.
struct Lookup {
    Cumulative starts;
    std::array<std::uint8_t, 256> from;

    void fill(const PriorTables& tables, std::size_t map) {
        accumulate(tables, map, starts);
        std::size_t byte = 0;
        for (std::size_t k = 0; k < kEntries; ++k) {
            for (; byte << 8 < starts[k + 1]; ++byte) from[byte] = static_cast<std::uint8_t>(k);
        }
    }

    // value: below kArithmeticTotal.
    std::size_t find(std::uint64_t value) const noexcept {
        std::size_t k = from[value >> 8];
        while (starts[k + 1] <= value) ++k;
        return k;
    }
};

// Integers of one map.
std::size_t row_of(const PriorTables& tables, std::size_t count) {
    const std::size_t maps = tables.first.size();
    if (maps == 0 ? count != 0 : count % maps != 0) throw std::invalid_argument("the maps must have as many integers each");
    return maps == 0 ? 0 : count / maps;
}

// An outlier: a bit for the side, then how far it lies beyond the nearest integer outside, Exp-Golomb-coded (order 0).
void put_escape(ArithmeticEncoder& encoder, std::int64_t value, std::int64_t low) {
    constexpr auto kWindow = static_cast<std::int64_t>(kPriorWindow);
    if (value < -kPriorLimit || value > kPriorLimit) throw std::invalid_argument("integers must lie within +-32767");
    const bool above = value >= low + kWindow;
    const auto distance = static_cast<std::uint64_t>(above ? value - (low + kWindow) + 1 : low - value);
    encoder.put_bit(above ? 1 : 0);
    encoder.put_golomb(distance);
}

// The entry that holds the code; false where none does.
bool get_entry(ArithmeticDecoder& decoder, const Lookup& table, std::size_t& k) noexcept {
    std::uint64_t value = 0;
    if (!decoder.peek(value)) return false;
    k = table.find(value);
    decoder.skip(table.starts[k], table.starts[k + 1] - table.starts[k]);
    return true;
}

Status get_escape(ArithmeticDecoder& decoder, std::int64_t low, std::int64_t& value) noexcept {
    std::uint64_t above = 0;
    std::uint64_t code = 0;
    if (!decoder.get_bit(above) || !decoder.get_golomb(kMostZeros, code)) return Status::bad_code;
    const auto distance = static_cast<std::int64_t>(code);
    value = above != 0 ? low + static_cast<std::int64_t>(kPriorWindow) - 1 + distance : low - distance;
    return value < -kPriorLimit || value > kPriorLimit ? Status::bad_code : Status::ok;
}

}  // namespace

Status prior_check(const PriorTables& tables) {
    if (tables.frequencies.size() % kEntries != 0 || tables.frequencies.size() / kEntries != tables.first.size()) {
        throw std::invalid_argument("a map has 65 frequencies and a first integer");
    }
    for (std::size_t map = 0; map < tables.first.size(); ++map) {
        const auto row = tables.frequencies.subspan(map * kEntries, kEntries);
        std::int64_t sum = 0;
        for (const std::int64_t frequency : row) {
            if (frequency < 1 || frequency > static_cast<std::int64_t>(kArithmeticTotal)) return Status::bad_table;
            sum += frequency;
        }
        const std::int64_t first = tables.first[map];
        if (sum != static_cast<std::int64_t>(kArithmeticTotal) || first < INT32_MIN || first > INT32_MAX) return Status::bad_table;
    }
    return Status::ok;
}

// A symbol of 16 bits, the side, and a distance of 33 bits at most in 65: 82 bits and what rounding costs, below 2^-20 of them.
std::size_t prior_bound(std::size_t count) noexcept { return 11 * count + 8; }

Status prior_encode(const PriorTables& tables, std::span<const std::int64_t> integers, std::span<std::uint8_t> out, std::size_t& size) {
    const std::size_t row = row_of(tables, integers.size());
    if (const Status status = prior_check(tables); status != Status::ok) return status;
    if (out.size() < prior_bound(integers.size())) throw std::invalid_argument("out must have prior_bound bytes");
    ArithmeticEncoder encoder(out.data());
    Cumulative table;
    for (std::size_t map = 0; map < tables.first.size(); ++map) {
        accumulate(tables, map, table);
        const std::int64_t low = tables.first[map];
        for (const std::int64_t value : integers.subspan(map * row, row)) {
            const std::uint64_t inside = static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(low);  // may wrap round: no less outside
            const std::size_t k = std::min<std::uint64_t>(inside, kPriorWindow);
            encoder.put(table[k], table[k + 1] - table[k]);
            if (k == kPriorWindow) put_escape(encoder, value, low);
        }
    }
    size = encoder.finish();
    return Status::ok;
}

Status prior_decode(const PriorTables& tables, std::span<const std::uint8_t> in, std::span<std::int64_t> integers) {
    const std::size_t row = row_of(tables, integers.size());
    if (const Status status = prior_check(tables); status != Status::ok) return status;
    ArithmeticDecoder decoder(in);
    Lookup table;
    for (std::size_t map = 0; map < tables.first.size(); ++map) {
        table.fill(tables, map);
        const std::int64_t low = tables.first[map];
        for (std::int64_t& value : integers.subspan(map * row, row)) {
            std::size_t k = 0;
            if (!get_entry(decoder, table, k)) return Status::bad_code;
            value = low + static_cast<std::int64_t>(k);
            if (k < kPriorWindow) continue;
            if (const Status status = get_escape(decoder, low, value); status != Status::ok) return status;
        }
    }
    return decoder.at_clean_end() ? Status::ok : Status::trailing;
}

}  // namespace featcodec
