// Canonical, length-limited Huffman coding of symbols below 2^bits, with the table in the stream.
//
// Table: Exp-Golomb codes of order 0 of the number of distinct symbols less 1; of, for each, ascending, how many lie between it and the
// one before (the first counts from -1); and, with two or more, 5 bits of the first code length, then of zigzag(length - length before)
// for each further one. Codes are canonical: by length, then by symbol, counting up.
#include <array>
#include <numeric>
#include <vector>

#include "bits.hpp"
#include "featcodec.hpp"
#include "order0/order0.hpp"

namespace featcodec {
namespace {

constexpr std::uint8_t kModePacked = 0;
constexpr std::uint8_t kModeHuffman = 1;
constexpr unsigned kLengthBits = 5;   // of the first code length
constexpr unsigned kLookupBits = 12;  // codes up to this length decode in one look-up

// The distinct symbols and their code lengths, ascending by symbol: what the table sends.
struct Code {
    std::vector<std::uint16_t> symbols;
    std::vector<std::uint8_t> lengths;

    // Symbols between entry i and the one before.
    std::uint32_t gap(std::size_t i) const {
        return i == 0 ? std::uint32_t{symbols[0]} : std::uint32_t{symbols[i]} - std::uint32_t{symbols[i - 1]} - 1;
    }
    std::uint32_t length_code(std::size_t i) const { return zigzag(int{lengths[i]} - int{lengths[i - 1]}); }

    std::uint64_t table_bits() const {
        std::uint64_t bits = golomb_bits(static_cast<std::uint32_t>(symbols.size()) - 1, 0) + (symbols.size() > 1 ? kLengthBits : 0);
        for (std::size_t i = 0; i < symbols.size(); ++i) bits += golomb_bits(gap(i), 0);
        for (std::size_t i = 1; i < symbols.size(); ++i) bits += golomb_bits(length_code(i), 0);
        return bits;
    }

    void write(BitWriter& writer) const {
        writer.put_golomb(static_cast<std::uint32_t>(symbols.size()) - 1, 0);
        for (std::size_t i = 0; i < symbols.size(); ++i) writer.put_golomb(gap(i), 0);
        if (symbols.size() < 2) return;
        writer.put(lengths[0], kLengthBits);
        for (std::size_t i = 1; i < symbols.size(); ++i) writer.put_golomb(length_code(i), 0);
    }

    Status read(BitReader& reader, unsigned bits) {
        const auto fail = [&] { return reader.overrun() ? Status::truncated : Status::bad_table; };
        std::uint32_t distinct = 0;
        if (!reader.get_golomb(distinct, 0)) return fail();
        if (distinct >= (std::uint32_t{1} << bits)) return Status::bad_table;
        ++distinct;
        std::int64_t symbol = -1;
        for (std::uint32_t i = 0; i < distinct; ++i) {
            std::uint32_t gap = 0;
            if (!reader.get_golomb(gap, 0)) return fail();
            symbol += std::int64_t{gap} + 1;
            if (symbol >= (std::int64_t{1} << bits)) return Status::bad_table;
            symbols.push_back(static_cast<std::uint16_t>(symbol));
        }
        if (distinct == 1) {
            lengths.push_back(0);
            return Status::ok;
        }
        auto length = static_cast<int>(reader.get(kLengthBits));
        std::uint64_t kraft = 0;  // in units of 2^-kMaxCodeLength
        for (std::uint32_t i = 0; i < distinct; ++i) {
            std::uint32_t difference = 0;
            if (i > 0) {
                if (!reader.get_golomb(difference, 0)) return fail();
                if (difference >= 2 * kMaxCodeLength) return Status::bad_table;
                length += unzigzag(difference);
            }
            if (length < 1 || length > static_cast<int>(kMaxCodeLength)) return Status::bad_table;
            kraft += std::uint64_t{1} << (kMaxCodeLength - static_cast<unsigned>(length));
            lengths.push_back(static_cast<std::uint8_t>(length));
        }
        if (reader.overrun()) return Status::truncated;
        return kraft == (std::uint64_t{1} << kMaxCodeLength) ? Status::ok : Status::bad_table;
    }
};

// Where each length's codes begin: the canonical code in its shortest form.
struct Canonical {
    std::array<std::uint32_t, kMaxCodeLength + 2> first_code{};   // of that length
    std::array<std::uint32_t, kMaxCodeLength + 2> first_index{};  // of that code, in `order`
    std::array<std::uint32_t, kMaxCodeLength + 2> count{};
    std::vector<std::uint32_t> order;  // entries of Code by length, then symbol

    explicit Canonical(const Code& code) : order(code.symbols.size()) {
        for (const std::uint8_t length : code.lengths) ++count[length];
        for (unsigned length = 1; length <= kMaxCodeLength; ++length) {
            first_code[length + 1] = (first_code[length] + count[length]) << 1;
            first_index[length + 1] = first_index[length] + count[length];
        }
        auto next = first_index;
        for (std::uint32_t entry = 0; entry < order.size(); ++entry) order[next[code.lengths[entry]]++] = entry;
    }
};

std::vector<std::uint32_t> counts_of(std::span<const std::uint16_t> symbols, unsigned bits) {
    std::vector<std::uint32_t> counts(std::size_t{1} << bits);
    for (const std::uint16_t symbol : symbols) {
        if (symbol >= counts.size()) throw std::invalid_argument("symbols must be below 2^bits");
        ++counts[symbol];
    }
    return counts;
}

Code make_code(std::span<const std::uint32_t> counts) {
    std::vector<std::uint8_t> lengths(counts.size());
    huffman_code_lengths(counts, lengths);
    Code code;
    for (std::size_t symbol = 0; symbol < counts.size(); ++symbol) {
        if (counts[symbol] == 0) continue;
        code.symbols.push_back(static_cast<std::uint16_t>(symbol));
        code.lengths.push_back(lengths[symbol]);
    }
    return code;
}

void write_body(const Code& code, std::size_t alphabet, std::span<const std::uint16_t> symbols, BitWriter& writer) {
    const Canonical canonical(code);
    struct Word {
        std::uint32_t bits = 0;
        std::uint32_t length = 0;
    };
    std::vector<Word> words(alphabet);
    auto next = canonical.first_code;
    for (const std::uint32_t entry : canonical.order) {
        const unsigned length = code.lengths[entry];
        words[code.symbols[entry]] = {length > 0 ? next[length]++ : 0u, length};
    }
    for (const std::uint16_t symbol : symbols) writer.put(words[symbol].bits, words[symbol].length);
}

Status read_body(const Code& code, BitReader& reader, std::span<std::uint16_t> symbols) {
    const Canonical canonical(code);
    struct Entry {
        std::uint16_t symbol = 0;
        std::uint8_t length = 0;  // 0: a longer code
    };
    std::vector<Entry> lookup(std::size_t{1} << kLookupBits);
    auto next = canonical.first_code;
    for (const std::uint32_t entry : canonical.order) {
        const unsigned length = code.lengths[entry];
        if (length > kLookupBits) break;
        const std::size_t run = std::size_t{1} << (kLookupBits - length);
        const std::size_t start = std::size_t{next[length]++} * run;
        std::fill_n(lookup.begin() + static_cast<std::ptrdiff_t>(start), run,
                    Entry{code.symbols[entry], static_cast<std::uint8_t>(length)});
    }
    for (std::uint16_t& symbol : symbols) {
        const std::uint32_t window = reader.peek(kMaxCodeLength);
        const Entry hit = lookup[window >> (kMaxCodeLength - kLookupBits)];
        if (hit.length != 0) {
            symbol = hit.symbol;
            reader.skip(hit.length);
            continue;
        }
        // The Kraft sum is one, so some length matches: the search ends.
        unsigned length = kLookupBits + 1;
        std::uint32_t offset = 0;
        for (;; ++length) {
            offset = (window >> (kMaxCodeLength - length)) - canonical.first_code[length];
            if (length == kMaxCodeLength || offset < canonical.count[length]) break;
        }
        symbol = code.symbols[canonical.order[canonical.first_index[length] + offset]];
        reader.skip(length);
    }
    return reader.overrun() ? Status::truncated : Status::ok;
}

}  // namespace

void huffman_code_lengths(std::span<const std::uint32_t> counts, std::span<std::uint8_t> lengths) {
    if (counts.size() != lengths.size()) throw std::invalid_argument("counts and lengths must have one size");
    if (counts.size() > (std::size_t{1} << kMaxSymbolBits)) throw std::invalid_argument("at most 2^16 symbols");
    std::fill(lengths.begin(), lengths.end(), std::uint8_t{0});
    std::vector<std::uint32_t> leaves;  // the symbols that occur, rarest first
    for (std::uint32_t symbol = 0; symbol < counts.size(); ++symbol) {
        if (counts[symbol] > 0) leaves.push_back(symbol);
    }
    std::stable_sort(leaves.begin(), leaves.end(), [&](auto a, auto b) { return counts[a] < counts[b]; });
    const std::size_t n = leaves.size();
    if (n < 2) return;

    // Package-merge. Level 0 holds the leaves alone; each next level merges the leaves with pairs of the level below. Only
    // whether an item is a leaf is kept: the first 2n-2 items of the last level tell, level by level, how many of the
    // rarest leaves get one bit more.
    std::vector<std::vector<bool>> is_leaf(kMaxCodeLength);
    std::vector<std::uint64_t> weights;
    for (const std::uint32_t leaf : leaves) weights.push_back(counts[leaf]);
    is_leaf[0].assign(n, true);
    for (std::size_t level = 1; level < kMaxCodeLength; ++level) {
        std::vector<std::uint64_t> merged;
        merged.reserve(n + weights.size() / 2);
        std::size_t leaf = 0;
        std::size_t pair = 0;
        while (leaf < n || pair + 1 < weights.size()) {
            const bool pairs_left = pair + 1 < weights.size();
            const std::uint64_t package = pairs_left ? weights[pair] + weights[pair + 1] : UINT64_MAX;
            const bool take_leaf = leaf < n && counts[leaves[leaf]] <= package;
            is_leaf[level].push_back(take_leaf);
            merged.push_back(take_leaf ? counts[leaves[leaf++]] : package);
            if (!take_leaf) pair += 2;
        }
        weights = std::move(merged);
    }
    std::size_t items = 2 * n - 2;
    for (std::size_t level = kMaxCodeLength; level-- > 0 && items > 0;) {
        const auto end = is_leaf[level].begin() + static_cast<std::ptrdiff_t>(items);
        const auto taken = static_cast<std::size_t>(std::count(is_leaf[level].begin(), end, true));
        for (std::size_t i = 0; i < taken; ++i) ++lengths[leaves[i]];
        items = 2 * (items - taken);
    }
}

std::size_t huffman_bound(std::size_t count, unsigned bits) { return 1 + packed_size(count, bits); }

// The entropy and what of the table is known before the code is: how far apart its symbols are.
std::size_t huffman_least(std::span<const std::uint16_t> symbols, unsigned bits) {
    const std::vector<std::uint32_t> counts = counts_of(symbols, bits);
    const double total = log2_of(static_cast<std::uint32_t>(symbols.size()));
    double least = 0;
    std::uint32_t gap = 0;
    for (const std::uint32_t times : counts) {
        if (times == 0) {
            ++gap;
            continue;
        }
        least += times * (total - log2_of(times) - 1e-4) + golomb_bits(gap, 0) + 1;
        gap = 0;
    }
    return 1 + std::min(static_cast<std::size_t>(std::max(least / 8, 0.0)), packed_size(symbols.size(), bits));
}

std::size_t huffman_encode(std::span<const std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out) {
    const std::size_t packed = packed_size(symbols.size(), bits);
    if (out.size() < 1 + packed) throw std::invalid_argument("out must have huffman_bound bytes");
    if (symbols.empty()) throw std::invalid_argument("there must be a symbol");
    const std::vector<std::uint32_t> counts = counts_of(symbols, bits);
    const Code code = make_code(counts);
    std::uint64_t cost = code.table_bits();
    for (std::size_t i = 0; i < code.symbols.size(); ++i) cost += std::uint64_t{counts[code.symbols[i]]} * code.lengths[i];

    if ((cost + 7) / 8 >= packed) {
        out[0] = kModePacked;
        pack_bits(symbols, bits, out.subspan(1, packed));
        return 1 + packed;
    }
    out[0] = kModeHuffman;
    BitWriter writer(out.subspan(1));
    code.write(writer);
    write_body(code, counts.size(), symbols, writer);
    return 1 + writer.finish();
}

Status huffman_table_bits(std::span<const std::uint8_t> body, unsigned bits, std::uint64_t& table_bits) {
    BitReader reader(body);
    Code code;
    const Status status = code.read(reader, bits);
    table_bits = reader.bits_used();
    return status;
}

Status huffman_decode(std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint16_t> symbols) {
    packed_size(symbols.size(), bits);  // refuses bits out of range
    if (in.empty()) return Status::truncated;
    if (in[0] == kModePacked) return unpack_bits(in.subspan(1), bits, symbols);
    if (in[0] != kModeHuffman) return Status::bad_mode;
    BitReader reader(in.subspan(1));
    Code code;
    if (const Status status = code.read(reader, bits); status != Status::ok) return status;
    if (code.symbols.size() == 1) {
        std::fill(symbols.begin(), symbols.end(), code.symbols[0]);
    } else if (const Status status = read_body(code, reader, symbols); status != Status::ok) {
        return status;
    }
    return reader.at_clean_end() ? Status::ok : Status::trailing;
}

}  // namespace featcodec
