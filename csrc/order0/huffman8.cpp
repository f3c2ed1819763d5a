// Length-limited canonical Huffman codes over bytes: built from counts, sent, received. The coding loops are kernels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "levels8.hpp"
#include "order0.hpp"

namespace featcodec {
namespace {

constexpr unsigned kAbsent = kHuffmanMaxLength + 1;
constexpr unsigned kSortBits = 16;  // counts are scaled to these: the order of near-equal large counts costs nothing

struct Leaf {
    std::uint16_t weight;
    std::uint8_t symbol;
};

// One pass of a least-significant-digit radix sort.
template <unsigned kDigitBits>
void sort_by_digit(const Leaf* from, Leaf* to, unsigned size, unsigned shift) {
    constexpr unsigned kMask = (1u << kDigitBits) - 1;
    std::uint16_t starts[1u << kDigitBits] = {};
    for (unsigned i = 0; i < size; ++i) ++starts[(from[i].weight >> shift) & kMask];
    unsigned sum = 0;  // a register: a sum through memory waits for each store
    for (std::uint16_t& start : starts) {
        const unsigned count = start;
        start = static_cast<std::uint16_t>(sum);
        sum += count;
    }
    for (unsigned i = 0; i < size; ++i) to[starts[(from[i].weight >> shift) & kMask]++] = from[i];
}

void sort_by_insertion(Leaf* leaves, unsigned size) {
    for (unsigned i = 1; i < size; ++i) {
        const Leaf leaf = leaves[i];
        unsigned j = i;
        for (; j > 0 && leaves[j - 1].weight > leaf.weight; --j) leaves[j] = leaves[j - 1];
        leaves[j] = leaf;
    }
}

// The symbols that occur, rarest first; returns how many.
unsigned sorted_leaves(const ByteCounts& counts, Leaf* leaves) {
    std::uint32_t largest = 0;
    for (const std::uint32_t count : counts) largest = std::max(largest, count);
    const auto width = static_cast<unsigned>(std::bit_width(largest));
    const unsigned shift = width > kSortBits ? width - kSortBits : 0;
    unsigned size = 0;
    for (unsigned symbol = 0; symbol < 256; ++symbol) {
        const std::uint32_t weight = counts[symbol] >> shift;
        leaves[size] = {static_cast<std::uint16_t>(weight == 0 ? 1u : weight), static_cast<std::uint8_t>(symbol)};
        size += counts[symbol] != 0;
    }
    if (size <= 24) {
        sort_by_insertion(leaves, size);
        return size;
    }
    Leaf other[257];
    if (width <= 12) {  // a small sample's: the tables of wider digits would take longer than the leaves
        sort_by_digit<6>(leaves, other, size, 0);
        sort_by_digit<6>(other, leaves, size, 6);
    } else {
        sort_by_digit<8>(leaves, other, size, 0);
        sort_by_digit<8>(other, leaves, size, 8);
    }
    return size;
}

// Codes of each length in Huffman's tree, from two queues: sorted leaves, and inner nodes, which come out sorted. Both end in
// sentinels, so that a child is picked without a branch: the picks are as good as random, and mispredictions were most of the time.
void tree_lengths(const Leaf* leaves, unsigned size, unsigned* of_length) {
    std::uint32_t weights[2 * 257 + 2];  // leaves, a sentinel, inner nodes
    std::uint16_t parents[2 * 257 + 2];
    std::uint32_t* const inner_weights = weights + size + 1;
    for (unsigned i = 0; i < size; ++i) weights[i] = leaves[i].weight;
    std::fill(weights + size, weights + 2 * size + 2, UINT32_MAX);
    std::uint32_t leaf = 0;
    std::uint32_t inner = size + 1;
    for (unsigned node = 0; node + 1 < size; ++node) {
        const std::uint32_t first = weights[leaf] <= weights[inner] ? leaf : inner;
        const std::uint32_t first_is_leaf = first == leaf;
        leaf += first_is_leaf;
        inner += 1 - first_is_leaf;
        const std::uint32_t second = weights[leaf] <= weights[inner] ? leaf : inner;
        const std::uint32_t second_is_leaf = second == leaf;
        leaf += second_is_leaf;
        inner += 1 - second_is_leaf;
        parents[first] = parents[second] = static_cast<std::uint16_t>(node);
        inner_weights[node] = weights[first] + weights[second];
    }
    // Inner nodes of each depth tell the leaves: of the 2 * inner(d - 1) nodes at depth d, those that are not inner.
    unsigned inner_of_depth[257] = {};
    std::uint8_t depths[257];
    const unsigned root = size - 2;
    depths[root] = 0;
    inner_of_depth[0] = 1;
    unsigned deepest = 0;
    for (unsigned node = root; node-- > 0;) {
        const unsigned depth = depths[parents[size + 1 + node]] + 1u;
        depths[node] = static_cast<std::uint8_t>(depth);
        ++inner_of_depth[depth];
        deepest = depth;  // depths rise towards the first node
    }
    for (unsigned depth = 1; depth <= deepest + 1; ++depth) {
        of_length[std::min(depth, kHuffmanMaxLength)] += 2 * inner_of_depth[depth - 1] - inner_of_depth[depth];
    }
}

// Restores a Kraft sum of one after lengths were cut to the longest: each step turns a leaf into the parent of itself and of one
// of the longest leaves, which frees one code.
void limit_lengths(unsigned* of_length) {
    std::uint32_t kraft = 0;
    for (unsigned length = 1; length <= kHuffmanMaxLength; ++length) kraft += of_length[length] << (kHuffmanMaxLength - length);
    std::uint32_t excess = kraft > (1u << kHuffmanMaxLength) ? kraft - (1u << kHuffmanMaxLength) : 0;
    constexpr unsigned kParent = kHuffmanMaxLength - 1;
    while (excess > 0) {
        const unsigned steps = std::min(excess, of_length[kParent]);  // these all at once: each adds one longest leaf
        of_length[kParent] -= steps;
        of_length[kHuffmanMaxLength] += steps;
        excess -= steps;
        if (excess == 0) break;
        unsigned length = kParent - 1;
        while (of_length[length] == 0) --length;
        --of_length[length];
        of_length[length + 1] += 2;
        --of_length[kHuffmanMaxLength];
        --excess;
    }
}

// Everything but `lengths`, from them. In four quarters of the alphabet side by side: a code follows from the one before of its
// length, and a chain through memory is slow.
void finish_code(HuffmanCode& code) {
    constexpr unsigned kQuarters = 4;
    constexpr unsigned kQuarter = 256 / kQuarters;
    std::uint16_t next_code[kQuarters][16] = {};
    for (unsigned i = 0; i < kQuarter; ++i) {
        for (unsigned q = 0; q < kQuarters; ++q) ++next_code[q][code.lengths[q * kQuarter + i]];
    }
    unsigned first_code = 0;
    unsigned distinct = 0;
    int place_of_code[16] = {};  // place in `order` less code
    std::memset(code.of_length, 0, sizeof code.of_length);
    for (unsigned length = 1; length <= kHuffmanMaxLength; ++length) {
        place_of_code[length] = static_cast<int>(distinct) - static_cast<int>(first_code);
        unsigned next = first_code;
        for (auto& quarter : next_code) {
            const unsigned count = quarter[length];
            quarter[length] = static_cast<std::uint16_t>(next);
            next += count;
        }
        const unsigned count = next - first_code;
        code.of_length[length] = static_cast<std::uint16_t>(count);
        if (count != 0) code.longest = static_cast<std::uint8_t>(length);
        distinct += count;
        first_code = next << 1;
    }
    code.distinct = static_cast<std::uint16_t>(distinct);
    for (unsigned i = 0; i < kQuarter; ++i) {
        for (unsigned q = 0; q < kQuarters; ++q) {
            const unsigned symbol = q * kQuarter + i;
            const unsigned length = code.lengths[symbol];
            if (length == 0) {
                code.words[symbol] = code.code_low[symbol] = code.code_high[symbol] = 0;
                continue;
            }
            const unsigned bits = next_code[q][length]++;
            code.order[place_of_code[length] + static_cast<int>(bits)] = static_cast<std::uint8_t>(symbol);
            code.words[symbol] = (std::uint64_t{bits} << (64 - length)) | length;
            code.code_low[symbol] = static_cast<std::uint8_t>(bits);
            code.code_high[symbol] = static_cast<std::uint8_t>(length | (bits >> 8) << 4);
        }
    }
}

void finish_static(const Order0Kernels& kernels, HuffmanStatic& fixed) {
    std::uint64_t scratch[1u << kHuffmanMaxLength];
    kernels.huffman_table(fixed.code, kHuffmanMaxLength, kHuffmanMaxDepth, fixed.table, scratch);
}

unsigned table_row(unsigned bits) { return bits <= 4 ? 1u << bits : 0; }

}  // namespace

void huffman8_build(const ByteCounts& coded, HuffmanCode& code) {
    Leaf leaves[257];
    const unsigned size = sorted_leaves(coded, leaves);
    std::memset(code.lengths, 0, sizeof code.lengths);
    if (size < 2) {  // a second symbol that never comes keeps the code complete
        const unsigned only = size == 0 ? 0u : leaves[0].symbol;
        code.lengths[only] = 1;
        code.lengths[only == 0 ? 1 : 0] = 1;
    } else {
        unsigned of_length[kHuffmanMaxLength + 1] = {};
        tree_lengths(leaves, size, of_length);
        limit_lengths(of_length);
        const Leaf* leaf = leaves;
        for (unsigned length = kHuffmanMaxLength; length > 0; --length) {
            for (unsigned i = of_length[length]; i > 0; --i) code.lengths[(leaf++)->symbol] = static_cast<std::uint8_t>(length);
        }
    }
    finish_code(code);
}

std::size_t huffman8_write_table(const HuffmanCode& code, unsigned bits, std::span<std::uint8_t> out) {
    std::uint8_t levels[256];
    for (unsigned i = 0; i < 256; ++i) levels[i] = code.lengths[i] == 0 ? static_cast<std::uint8_t>(kAbsent) : code.lengths[i];
    BitWriter writer(out);
    levels8_write(writer, levels, coded_alphabet(bits), table_row(bits), kAbsent);
    return writer.finish();
}

Status huffman8_read_table(std::span<const std::uint8_t> in, unsigned bits, HuffmanCode& code, std::size_t& used) {
    BitReader reader(in);
    std::uint8_t levels[256];
    const unsigned alphabet = coded_alphabet(bits);
    if (const Status status = levels8_read(reader, levels, alphabet, table_row(bits), kAbsent); status != Status::ok) return status;
    std::memset(code.lengths, 0, sizeof code.lengths);
    std::uint32_t kraft = 0;
    for (unsigned i = 0; i < alphabet; ++i) {
        if (levels[i] == kAbsent) continue;
        code.lengths[i] = levels[i];
        kraft += 1u << (kHuffmanMaxLength - levels[i]);
    }
    if (kraft != 1u << kHuffmanMaxLength) return Status::bad_table;
    used = reader.bytes_used();
    const auto padding = static_cast<unsigned>(used * 8 - reader.bits_used());
    if (padding > 0 && reader.peek(padding) != 0) return Status::bad_table;
    finish_code(code);
    return Status::ok;
}

void huffman8_build_static(const Order0Kernels& kernels, const ByteCounts& coded, unsigned bits, HuffmanStatic& fixed) {
    ByteCounts counts = {};
    std::uint64_t total = 0;
    const unsigned alphabet = coded_alphabet(bits);
    for (unsigned i = 0; i < alphabet; ++i) total += coded[i];
    // The floor gives unseen bytes the longest code without lengthening the common ones.
    const auto least = static_cast<std::uint32_t>(std::min<std::uint64_t>(total >> 14, UINT32_MAX / 2) + 1);
    for (unsigned i = 0; i < alphabet; ++i) counts[i] = std::max(coded[i], least);
    huffman8_build(counts, fixed.code);
    finish_static(kernels, fixed);
}

Status huffman8_load_static(const Order0Kernels& kernels, std::span<const std::uint8_t> table, unsigned bits, HuffmanStatic& fixed) {
    std::size_t used = 0;
    if (const Status status = huffman8_read_table(table, bits, fixed.code, used); status != Status::ok) return status;
    if (used != table.size()) return Status::trailing;
    if (fixed.code.distinct != coded_alphabet(bits)) return Status::bad_table;
    finish_static(kernels, fixed);
    return Status::ok;
}

}  // namespace featcodec
