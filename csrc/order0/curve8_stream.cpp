// Streams of mode 9: the curve, what the lanes' first states leave of the rare symbols' indices, words, last states.
#include <algorithm>
#include <bit>
#include <vector>

#include "bits.hpp"
#include "curve8.hpp"
#include "lane_states.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kChunk = 4096;      // symbols searched at a time
constexpr std::size_t kBlock = 32768;     // symbols decoded at a time, a multiple of any number of lanes
constexpr unsigned kFirstStateBits = 15;  // of indices that a lane's first state holds
constexpr unsigned kLeastWidth = 16;      // of a state
static_assert(kRansMaxLanes <= kStateLanes);

// Truncated binary codes of 0..count-1: the first `short_ones` have `width` bits, the others one more.
struct IndexCode {
    unsigned width, short_ones;
    explicit IndexCode(unsigned count)
        : width(static_cast<unsigned>(std::bit_width(count)) - 1), short_ones((2u << width) - count) {}

    unsigned bits(unsigned index) const { return index < short_ones ? width : width + 1; }
    void put(BitWriter& writer, unsigned index) const { writer.put(index < short_ones ? index : index + short_ones, bits(index)); }
    unsigned get(BitReader& reader) const {
        const unsigned prefix = reader.get(width);
        return prefix < short_ones ? prefix : (prefix << 1 | reader.get(1)) - short_ones;
    }
};

// Calls what(position) for each of the bytes that is in the set, in order.
template <typename What>
void for_each_in(const Order0Kernels& kernels, std::span<const std::uint8_t> bytes, const ByteSet& set, What what) {
    std::uint16_t positions[kChunk];
    for (std::size_t first = 0; first < bytes.size(); first += kChunk) {
        const unsigned found = kernels.find_bytes(bytes.data() + first, std::min(kChunk, bytes.size() - first), set.rows, positions);
        for (unsigned i = 0; i < found; ++i) what(first + positions[i]);
    }
}

// The indices of all rare symbols, as bits; false where they do not fit.
bool collect_rare(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, const RareSymbols& rare, std::span<std::uint8_t> out,
                  std::uint64_t& num_bits) {
    const IndexCode code(rare.count);
    const std::uint64_t most = 8 * std::uint64_t{out.size()};
    ByteSet set{};
    std::uint8_t index[256] = {};
    for (unsigned i = 0; i < rare.count; ++i) {
        set.add(rare.symbols[i]);
        index[rare.symbols[i]] = static_cast<std::uint8_t>(i);
    }
    BitWriter writer(out);
    num_bits = 0;
    for_each_in(kernels, symbols, set, [&](std::size_t at) {
        const unsigned i = index[symbols[at]];
        num_bits += code.bits(i);
        if (num_bits <= most) code.put(writer, i);
    });
    writer.finish();
    return num_bits <= most;
}

// Words a cache's worth at a time, and where the markers of several rare symbols are: each has an index of a bit at least. Null where
// words run short, or are too few to hold so many indices.
const std::uint8_t* decode_words(const Order0Kernels& kernels, const RansCode& code, const std::uint32_t* table, unsigned bits,
                                 const std::uint8_t* begin, const std::uint8_t* end, unsigned lanes, std::uint32_t* states,
                                 std::span<std::uint8_t> symbols, const RareSymbols& rare, std::vector<std::uint32_t>& markers) {
    markers.clear();
    if (rare.count < 2) return kernels.rans_decode(code, table, bits, begin, end, lanes, states, symbols.data(), symbols.size());
    const std::size_t most = std::size_t{kFirstStateBits} * lanes + 8 * static_cast<std::size_t>(end - begin);
    ByteSet marker{};
    marker.add(rare.symbols[0]);
    for (std::size_t first = 0; first < symbols.size(); first += kBlock) {
        const auto block = symbols.subspan(first, std::min(kBlock, symbols.size() - first));
        end = kernels.rans_decode(code, table, bits, begin, end, lanes, states, block.data(), block.size());
        if (end == nullptr) return nullptr;
        for_each_in(kernels, block, marker, [&](std::size_t at) { markers.push_back(static_cast<std::uint32_t>(first + at)); });
        if (markers.size() > most) return nullptr;
    }
    return end;
}

// Puts each index where its marker is. False where the bits are not just those.
bool place_rare(std::span<std::uint8_t> symbols, const RareSymbols& rare, const std::vector<std::uint32_t>& markers,
                std::span<const std::uint8_t> held, std::size_t num_lanes_bits) {
    BitReader reader(held);
    if (!markers.empty()) {
        const IndexCode code(rare.count);
        for (const std::uint32_t at : markers) symbols[at] = rare.symbols[code.get(reader)];
    }
    if (reader.overrun()) return false;
    // Bytes behind the lanes' bits are there only where they are needed; what is left over is zero.
    const std::uint64_t beyond = reader.bits_used() > num_lanes_bits ? reader.bits_used() - num_lanes_bits : 0;
    const std::uint64_t given = (std::uint64_t{held.size()} * 8 - num_lanes_bits) / 8;
    if ((beyond + 7) / 8 != given) return false;
    std::uint32_t rest = 0;
    while (reader.bits_used() < std::uint64_t{held.size()} * 8) rest |= reader.get(1);
    return rest == 0;
}

// Of the last bytes, from the last one backwards.
Status read_last_states(std::span<const std::uint8_t> in, std::span<std::uint32_t> states, std::size_t& used) {
    std::uint8_t turned[kLaneStatesBound];
    const std::size_t size = std::min(in.size(), kLaneStatesBound);
    std::reverse_copy(in.end() - static_cast<std::ptrdiff_t>(size), in.end(), turned);
    return read_lane_states({turned, size}, kLeastWidth, states, used);
}

// A few bytes may claim many markers: more than need be kept is let go of.
struct Markers {
    std::vector<std::uint32_t>& at;
    ~Markers() {
        if (sizeof(std::uint32_t) * at.capacity() > kKeptScratch / 8) at = {};
    }
};

std::uint8_t* held_scratch(std::size_t size) {
    thread_local Buffer<std::uint8_t> bytes;
    return bytes.get(size);
}

// What follows the table. `slots`: null where the level decodes without.
Status decode_body(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansCode& code, const RareSymbols& rare,
                   const std::uint32_t* slots, std::span<std::uint8_t> symbols) {
    const unsigned lanes = curve8_lanes(symbols.size());
    std::uint32_t states[kRansMaxLanes];
    std::size_t used = 0;
    if (const Status status = read_last_states(in, {states, lanes}, used); status != Status::ok) return status;
    thread_local std::vector<std::uint32_t> own;
    const Markers markers{own};
    const std::uint8_t* const words_end = in.data() + (in.size() - used);
    const std::uint8_t* const at = decode_words(kernels, code, slots, bits, in.data(), words_end, lanes, states, symbols, rare, markers.at);
    if (at == nullptr) return Status::truncated;

    const auto num_bytes = static_cast<std::size_t>(at - in.data());
    const std::size_t lane_bits = std::size_t{lanes} * kFirstStateBits;
    const std::size_t num_held = (lane_bits + 7) / 8 + num_bytes;
    const std::span<std::uint8_t> held(held_scratch(num_held), num_held);
    BitWriter writer(held);
    for (unsigned lane = 0; lane < lanes; ++lane) {
        if (states[lane] >= 2 * kRansLow) return Status::bad_code;
        writer.put(states[lane] - kRansLow, kFirstStateBits);
    }
    for (std::size_t i = 0; i < num_bytes; ++i) writer.put(in[i], 8);
    writer.finish();
    return place_rare(symbols, rare, markers.at, held, lane_bits) ? Status::ok : Status::bad_code;
}

Status read_code(std::span<const std::uint8_t> in, unsigned bits, RansCode& code, RareSymbols& rare, std::size_t& used) {
    Curve8 curve;
    if (const Status status = curve8_read(in, bits, curve, used); status != Status::ok) return status;
    return curve8_code(curve, bits, code, rare) ? Status::ok : Status::bad_table;
}

}  // namespace

// Each lane costs about three bytes, and only many lanes keep a wide machine busy.
unsigned curve8_lanes(std::size_t count) {
    if (count < 256) return 1;
    if (count < 1024) return 2;
    if (count < 8192) return 4;
    if (count < 32768) return 8;
    if (count < 131072) return 16;
    if (count < 262144) return 32;
    return count < 1u << 20 ? 64 : 128;
}

std::size_t curve8_cost(const RansCode& code, const RareSymbols& rare, const ByteCounts& counts, std::size_t count) {
    double words = 0;
    std::uint64_t index_bits = 0;
    for (unsigned i = 0; i < 256; ++i) {
        if (counts[i] != 0 && code.freq[i] != 0) words += counts[i] * (kRansProbBits - log2_of(code.freq[i]));
    }
    if (rare.count > 0) {
        const IndexCode index(rare.count);
        const double shared = kRansProbBits - log2_of(code.freq[rare.symbols[0]]);
        for (unsigned i = 0; i < rare.count; ++i) {
            const std::uint32_t times = counts[rare.symbols[i]];
            index_bits += std::uint64_t{times} * index.bits(i);
            if (i > 0) words += times * shared;
        }
    }
    // A lane sends 26.6 bits on average, of which 8 carry symbols and up to 15 indices.
    const unsigned lanes = curve8_lanes(count);
    const std::uint64_t held = std::min<std::uint64_t>(index_bits, std::uint64_t{lanes} * kFirstStateBits);
    return static_cast<std::size_t>((words + 18.6 * lanes + static_cast<double>(index_bits - held)) / 8) + 1;
}

std::size_t curve8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, const RansCode& code,
                          const RareSymbols& rare, std::span<const std::uint8_t> table, std::span<std::uint8_t> out) {
    const unsigned lanes = curve8_lanes(symbols.size());
    std::uint32_t states[kRansMaxLanes];
    std::fill_n(states, lanes, kRansLow);
    std::size_t at = table.size();
    if (at > out.size()) return 0;
    std::copy(table.begin(), table.end(), out.begin());
    if (rare.count > 0) {
        const std::size_t most = (lanes * kFirstStateBits + 7) / 8 + out.size();
        const std::span<std::uint8_t> held(held_scratch(most), most);
        std::uint64_t num_bits = 0;
        if (!collect_rare(kernels, symbols, rare, held, num_bits)) return 0;
        BitReader reader(held.first(static_cast<std::size_t>((num_bits + 7) / 8)));
        for (unsigned lane = 0; lane < lanes; ++lane) states[lane] |= reader.get(kFirstStateBits);
        for (; reader.bits_used() < num_bits; ++at) {
            if (at == out.size()) return 0;
            out[at] = static_cast<std::uint8_t>(reader.get(8));
        }
    }
    const std::uint8_t* const end = out.data() + out.size();
    std::uint8_t* words = kernels.rans_encode(code, bits, symbols.data(), symbols.size(), lanes, states, out.data() + at, end);
    if (words == nullptr) return 0;
    std::uint8_t last[kLaneStatesBound];
    const std::size_t size = write_lane_states({states, lanes}, kLeastWidth, last);
    if (static_cast<std::size_t>(end - words) < size) return 0;
    std::reverse_copy(last, last + size, words);
    return static_cast<std::size_t>(words + size - out.data());
}

Status curve8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols) {
    RansCode code;
    RareSymbols rare;
    std::size_t used = 0;
    if (const Status status = read_code(in, bits, code, rare, used); status != Status::ok) return status;
    struct Room {
        RansSlots slots;
    };
    auto& slots = thread_room<Room>().slots;
    const bool needed = kernels.rans_needs_slots(bits, curve8_lanes(symbols.size()));
    if (needed) kernels.rans_slots(code, bits, slots);
    return decode_body(kernels, in.subspan(used), bits, code, rare, needed ? slots : nullptr, symbols);
}

std::size_t curve8_train_static(const ByteCounts& symbol_counts, unsigned bits, std::span<std::uint8_t> table) {
    ByteCounts counts = {};
    for (unsigned i = 0; i < 1u << bits; ++i) counts[i] = std::max(symbol_counts[i], 1u);
    Curve8 curve;
    curve8_fit(counts, bits, curve);
    return curve8_write(curve, bits, table);
}

Status curve8_load_static(const Order0Kernels& kernels, std::span<const std::uint8_t> table, unsigned bits, RansStatic& fixed) {
    std::size_t used = 0;
    if (const Status status = read_code(table, bits, fixed.code, fixed.rare, used); status != Status::ok) return status;
    if (used != table.size()) return Status::trailing;
    const auto coded = static_cast<unsigned>(std::count_if(fixed.code.freq, fixed.code.freq + 256, [](unsigned freq) { return freq > 0; }));
    if (coded + std::max(fixed.rare.count, 1u) - 1 < 1u << bits) return Status::bad_table;
    curve8_steps(fixed.code, fixed.rare);
    kernels.rans_slots(fixed.code, bits, fixed.slots);
    return Status::ok;
}

Status curve8_decode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const RansStatic& fixed,
                            std::span<std::uint8_t> symbols) {
    const bool needed = kernels.rans_needs_slots(bits, curve8_lanes(symbols.size()));
    return decode_body(kernels, in, bits, fixed.code, fixed.rare, needed ? fixed.slots : nullptr, symbols);
}

}  // namespace featcodec
