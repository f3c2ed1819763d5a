// All arithmetic is on integers. low and span count units of 2^-48 of the interval that is left, shifted as bytes go out.
#include "prior.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <stdexcept>

namespace featcodec {
namespace {

constexpr unsigned kWindowBits = 48;
constexpr std::uint64_t kTop = std::uint64_t{1} << kWindowBits;
constexpr std::uint64_t kBottom = kTop >> 8;  // at least this much is left before a symbol: a unit of 2^24 and more
constexpr std::uint64_t kTotal = std::uint64_t{1} << kPriorPrecision;
constexpr std::uint64_t kHalf = kTotal / 2;  // a bit is half a table
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

    // value: below kTotal.
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

class Encoder {
public:
    explicit Encoder(std::uint8_t* out) noexcept : begin_(out), to_(out) {}

    void put(std::uint64_t start, std::uint64_t size) noexcept {
        const std::uint64_t unit = span_ >> kPriorPrecision;
        low_ += unit * start;
        span_ = unit * size;
        carry();
        for (; span_ < kBottom; span_ <<= 8) {
            *to_++ = static_cast<std::uint8_t>(low_ >> (kWindowBits - 8));
            low_ = (low_ << 8) & (kTop - 1);
        }
    }

    void put_bit(std::uint64_t bit) noexcept { put(bit * kHalf, kHalf); }

    // The fewest bytes that name the interval, without zeros at the end; returns how many there are in all.
    std::size_t finish() noexcept {
        const std::uint64_t low = low_;
        for (std::uint64_t rest = kTop - 1;; rest >>= 8) {
            low_ = (low + rest) & ~rest;
            if (low_ < low + span_) break;  // as it is at the latest where no bit is left out
        }
        carry();
        for (unsigned shift = kWindowBits; shift > 0; shift -= 8) *to_++ = static_cast<std::uint8_t>(low_ >> (shift - 8));
        while (to_ != begin_ && to_[-1] == 0) --to_;
        return static_cast<std::size_t>(to_ - begin_);
    }

private:
    // Into the bytes that are out already: low never passes what was the whole interval, so there is one that takes it.
    void carry() noexcept {
        if (low_ < kTop) return;
        low_ &= kTop - 1;
        std::uint8_t* at = to_ - 1;
        for (; *at == 0xFF; --at) *at = 0;
        ++*at;
    }

    std::uint8_t* begin_;
    std::uint8_t* to_;
    std::uint64_t low_ = 0;
    std::uint64_t span_ = kTop;
};

// An outlier: a bit for the side, then how far it lies beyond the nearest integer outside, Exp-Golomb-coded (order 0).
void put_escape(Encoder& encoder, std::int64_t value, std::int64_t low) {
    constexpr auto kWindow = static_cast<std::int64_t>(kPriorWindow);
    if (value < -kPriorLimit || value > kPriorLimit) throw std::invalid_argument("integers must lie within +-32767");
    const bool above = value >= low + kWindow;
    const auto distance = static_cast<std::uint64_t>(above ? value - (low + kWindow) + 1 : low - value);
    const auto width = static_cast<unsigned>(std::bit_width(distance));
    encoder.put_bit(above ? 1 : 0);
    for (unsigned i = 1; i < width; ++i) encoder.put_bit(0);
    for (unsigned i = width; i > 0; --i) encoder.put_bit(distance >> (i - 1) & 1);
}

class Decoder {
public:
    explicit Decoder(std::span<const std::uint8_t> in) noexcept : in_(in) {
        for (unsigned i = 0; i < kWindowBits / 8; ++i) code_ = code_ << 8 | next();
    }

    // The entry of a table that holds the code; false where none does.
    bool get(const Lookup& table, std::size_t& k) noexcept {
        const std::uint64_t unit = span_ >> kPriorPrecision;
        const std::uint64_t value = code_ / unit;
        if (value >= kTotal) return false;
        k = table.find(value);
        take(unit, table.starts[k], table.starts[k + 1] - table.starts[k]);
        return true;
    }

    bool get_bit(std::uint64_t& bit) noexcept {
        const std::uint64_t unit = span_ >> kPriorPrecision;
        const std::uint64_t value = code_ / unit;
        if (value >= kTotal) return false;
        bit = value / kHalf;
        take(unit, bit * kHalf, kHalf);
        return true;
    }

    bool at_clean_end() const noexcept { return in_.size() <= position_ && (in_.empty() || in_.back() != 0); }

private:
    std::uint64_t next() noexcept {
        const std::uint64_t byte = position_ < in_.size() ? in_[position_] : 0;
        ++position_;
        return byte;
    }

    void take(std::uint64_t unit, std::uint64_t start, std::uint64_t size) noexcept {
        code_ -= unit * start;
        span_ = unit * size;
        for (; span_ < kBottom; span_ <<= 8) code_ = code_ << 8 | next();
    }

    std::span<const std::uint8_t> in_;
    std::size_t position_ = 0;
    std::uint64_t code_ = 0;  // below span_: take() follows a value within the interval
    std::uint64_t span_ = kTop;
};

Status get_escape(Decoder& decoder, std::int64_t low, std::int64_t& value) noexcept {
    std::uint64_t above = 0;
    std::uint64_t bit = 0;
    unsigned zeros = 0;
    if (!decoder.get_bit(above) || !decoder.get_bit(bit)) return Status::bad_code;
    for (; bit == 0; ++zeros) {
        if (zeros == kMostZeros || !decoder.get_bit(bit)) return Status::bad_code;
    }
    std::int64_t distance = 1;
    for (; zeros > 0; --zeros) {
        if (!decoder.get_bit(bit)) return Status::bad_code;
        distance = distance * 2 + static_cast<std::int64_t>(bit);
    }
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
            if (frequency < 1 || frequency > static_cast<std::int64_t>(kTotal)) return Status::bad_table;
            sum += frequency;
        }
        const std::int64_t first = tables.first[map];
        if (sum != static_cast<std::int64_t>(kTotal) || first < INT32_MIN || first > INT32_MAX) return Status::bad_table;
    }
    return Status::ok;
}

// A symbol of 16 bits, the side, and a distance of 33 bits at most in 65: 82 bits and what rounding costs, below 2^-20 of them.
std::size_t prior_bound(std::size_t count) noexcept { return 11 * count + 8; }

Status prior_encode(const PriorTables& tables, std::span<const std::int64_t> integers, std::span<std::uint8_t> out, std::size_t& size) {
    const std::size_t row = row_of(tables, integers.size());
    if (const Status status = prior_check(tables); status != Status::ok) return status;
    if (out.size() < prior_bound(integers.size())) throw std::invalid_argument("out must have prior_bound bytes");
    Encoder encoder(out.data());
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
    Decoder decoder(in);
    Lookup table;
    for (std::size_t map = 0; map < tables.first.size(); ++map) {
        table.fill(tables, map);
        const std::int64_t low = tables.first[map];
        for (std::int64_t& value : integers.subspan(map * row, row)) {
            std::size_t k = 0;
            if (!decoder.get(table, k)) return Status::bad_code;
            value = low + static_cast<std::int64_t>(k);
            if (k < kPriorWindow) continue;
            if (const Status status = get_escape(decoder, low, value); status != Status::ok) return status;
        }
    }
    return decoder.at_clean_end() ? Status::ok : Status::trailing;
}

}  // namespace featcodec
