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

constexpr unsigned kFewLarge = 32;

// By counting weights below 63, those of almost all leaves of a small sample; false where more than a few are larger. From both
// ends at once: leaves of one weight wait for each other's counter.
bool sort_small_weights(const Leaf* from, Leaf* to, unsigned size) {
    constexpr unsigned kBuckets = 64;
    const auto bucket = [](Leaf leaf) { return std::min<unsigned>(leaf.weight, kBuckets - 1); };
    std::uint16_t counts[2][kBuckets] = {};
    for (unsigned i = 0; i < size; ++i) ++counts[i % 2][bucket(from[i])];
    const unsigned large = counts[0][kBuckets - 1] + counts[1][kBuckets - 1];
    if (large > kFewLarge) return false;
    std::uint16_t starts[kBuckets];
    std::uint16_t ends[kBuckets];
    unsigned sum = 0;  // a register: a sum through memory waits for each store
    for (unsigned b = 0; b < kBuckets; ++b) {
        starts[b] = static_cast<std::uint16_t>(sum);
        sum += unsigned{counts[0][b]} + counts[1][b];
        ends[b] = static_cast<std::uint16_t>(sum);
    }
    for (unsigned i = 0, j = size; i < j;) {
        to[starts[bucket(from[i])]++] = from[i];
        if (++i == j) break;
        --j;
        to[--ends[bucket(from[j])]] = from[j];
    }
    sort_by_insertion(to + size - large, large);
    return true;
}

// The symbols that occur, by value and rarest first; returns how many.
unsigned sorted_leaves(const ByteCounts& counts, std::uint8_t* symbols, Leaf* leaves) {
    unsigned size = 0;
    for (unsigned symbol = 0; symbol < 256; ++symbol) {
        symbols[size] = static_cast<std::uint8_t>(symbol);
        size += counts[symbol] != 0;
    }
    std::uint32_t bits_in_use = 0;
    for (unsigned i = 0; i < size; ++i) bits_in_use |= counts[symbols[i]];
    const auto width = static_cast<unsigned>(std::bit_width(bits_in_use));
    const unsigned shift = width > kSortBits ? width - kSortBits : 0;
    Leaf by_value[256];
    for (unsigned i = 0; i < size; ++i) {
        const std::uint32_t weight = counts[symbols[i]] >> shift;
        by_value[i] = {static_cast<std::uint16_t>(weight == 0 ? 1u : weight), symbols[i]};
    }
    if (sort_small_weights(by_value, leaves, size)) return size;
    Leaf other[256];
    if (width <= 12) {
        sort_by_digit<6>(by_value, other, size, 0);
        sort_by_digit<6>(other, leaves, size, 6);
    } else {
        sort_by_digit<8>(by_value, other, size, 0);
        sort_by_digit<8>(other, leaves, size, 8);
    }
    return size;
}

// Codes of each length in Huffman's tree, from two queues: sorted leaves, and inner nodes, which come out sorted. Both end in
// sentinels, and the next two of each decide without a branch what a node takes: picks are as good as random, and mispredictions
// were most of the time.
void tree_lengths(const Leaf* leaves, unsigned size, unsigned* of_length) {
    std::uint32_t leaf_weights[256 + 2];
    std::uint32_t inner_weights[256 + 2];
    std::uint16_t inner_before[256];  // inner nodes that were taken before this one was made
    for (unsigned i = 0; i < size; ++i) leaf_weights[i] = leaves[i].weight;
    std::fill(leaf_weights + size, leaf_weights + size + 2, UINT32_MAX);
    std::fill(inner_weights, inner_weights + size + 2, UINT32_MAX);
    const std::uint32_t* leaf = leaf_weights;
    const std::uint32_t* inner = inner_weights;
    for (unsigned node = 0; node + 1 < size; ++node) {
        inner_before[node] = static_cast<std::uint16_t>(inner - inner_weights);
        const std::uint32_t leaf0 = leaf[0];
        const std::uint32_t leaf1 = leaf[1];
        const std::uint32_t inner0 = inner[0];
        const std::uint32_t inner1 = inner[1];
        const bool two_leaves = leaf1 <= inner0;
        const bool two_inner = inner1 < leaf0;
        const std::uint32_t mixed = leaf0 + inner0;
        const std::uint32_t alike = two_leaves ? leaf0 + leaf1 : inner0 + inner1;
        inner_weights[node] = two_leaves || two_inner ? alike : mixed;
        const std::size_t leaves_taken = std::size_t{1} + two_leaves - two_inner;
        leaf += leaves_taken;
        inner += 2 - leaves_taken;
    }
    // Nodes of one depth lie side by side, the root last: what the first of them left is what lies deeper. Of the 2 * inner(d - 1)
    // nodes at depth d, those that are not inner are leaves.
    unsigned first = size - 2;
    unsigned inner_above = 1;
    for (unsigned depth = 1; inner_above > 0; ++depth) {
        const unsigned deeper = inner_before[first];
        const unsigned inner_here = first - deeper;
        of_length[std::min(depth, kHuffmanMaxLength)] += 2 * inner_above - inner_here;
        inner_above = inner_here;
        first = deeper;
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

// Everything but `lengths` and `of_length`, from them and the symbols that occur, by value. From both ends of the alphabet at once:
// a code follows from the one before of its length, and a chain through memory is slow.
void finish_code(HuffmanCode& code, const std::uint8_t* symbols, unsigned size) {
    std::uint16_t starts[kHuffmanMaxLength + 1] = {};  // places in `order`
    std::uint16_t ends[kHuffmanMaxLength + 1] = {};
    int code_of_place[kHuffmanMaxLength + 1] = {};     // code less place
    unsigned first_code = 0;
    unsigned place = 0;
    for (unsigned length = 1; length <= kHuffmanMaxLength; ++length) {
        const unsigned count = code.of_length[length];
        starts[length] = static_cast<std::uint16_t>(place);
        code_of_place[length] = static_cast<int>(first_code) - static_cast<int>(place);
        place += count;
        ends[length] = static_cast<std::uint16_t>(place);
        first_code = (first_code + count) << 1;
        if (count != 0) code.longest = static_cast<std::uint8_t>(length);
    }
    code.distinct = static_cast<std::uint16_t>(size);
    std::memset(code.words, 0, sizeof code.words);
    std::memset(code.code_low, 0, sizeof code.code_low);
    std::memset(code.code_high, 0, sizeof code.code_high);
    const auto put = [&](unsigned symbol, unsigned length, unsigned at) {
        const auto bits = static_cast<unsigned>(static_cast<int>(at) + code_of_place[length]);
        code.order[at] = static_cast<std::uint8_t>(symbol);
        code.words[symbol] = (std::uint64_t{bits} << (64 - length)) | length;
        code.code_low[symbol] = static_cast<std::uint8_t>(bits);
        code.code_high[symbol] = static_cast<std::uint8_t>(length | (bits >> 8) << 4);
    };
    for (unsigned i = 0, j = size; i < j;) {
        const unsigned low = symbols[i];
        put(low, code.lengths[low], starts[code.lengths[low]]++);
        if (++i == j) break;
        const unsigned high = symbols[--j];
        put(high, code.lengths[high], --ends[code.lengths[high]]);
    }
}

void finish_static(const Order0Kernels& kernels, HuffmanStatic& fixed) {
    std::uint64_t scratch[1u << kHuffmanMaxLength];
    kernels.huffman_table(fixed.code, kHuffmanMaxLength, kHuffmanMaxDepth, fixed.table, scratch);
}

unsigned table_row(unsigned bits) { return bits <= 4 ? 1u << bits : 0; }

}  // namespace

void huffman8_build(const ByteCounts& coded, HuffmanCode& code) {
    Leaf leaves[256];
    std::uint8_t symbols[257];
    unsigned size = sorted_leaves(coded, symbols, leaves);
    unsigned of_length[kHuffmanMaxLength + 1] = {};
    std::memset(code.lengths, 0, sizeof code.lengths);
    if (size < 2) {  // a second symbol that never comes keeps the code complete
        symbols[1] = size == 0 || leaves[0].symbol == 0 ? std::uint8_t{1} : leaves[0].symbol;
        symbols[0] = 0;
        size = 2;
        of_length[1] = 2;
        code.lengths[symbols[0]] = code.lengths[symbols[1]] = 1;
    } else {
        tree_lengths(leaves, size, of_length);
        limit_lengths(of_length);
        const Leaf* leaf = leaves;
        for (unsigned length = kHuffmanMaxLength; length > 0; --length) {
            for (unsigned i = of_length[length]; i > 0; --i) code.lengths[(leaf++)->symbol] = static_cast<std::uint8_t>(length);
        }
    }
    std::copy_n(of_length, kHuffmanMaxLength + 1, code.of_length);
    finish_code(code, symbols, size);
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
    std::uint8_t symbols[257];
    unsigned size = 0;
    std::uint16_t of_length[2][kAbsent + 1] = {};  // two: a counter waits for its last store
    for (unsigned i = 0; i < alphabet; ++i) {
        const bool occurs = levels[i] != kAbsent;
        symbols[size] = static_cast<std::uint8_t>(i);
        size += occurs;
        code.lengths[i] = occurs ? levels[i] : std::uint8_t{0};
        ++of_length[i % 2][levels[i]];
    }
    std::uint32_t kraft = 0;
    for (unsigned length = 1; length <= kHuffmanMaxLength; ++length) {
        const unsigned count = unsigned{of_length[0][length]} + of_length[1][length];
        code.of_length[length] = static_cast<std::uint16_t>(count);
        kraft += count << (kHuffmanMaxLength - length);
    }
    if (kraft != 1u << kHuffmanMaxLength) return Status::bad_table;
    used = reader.bytes_used();
    const auto padding = static_cast<unsigned>(used * 8 - reader.bits_used());
    if (padding > 0 && reader.peek(padding) != 0) return Status::bad_table;
    finish_code(code, symbols, size);
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
