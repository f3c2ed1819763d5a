// Huffman streams: the optional table, the sizes of the segments, the segments.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "order0.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

// How coded bytes are divided. Normative: a decoder computes it too.
struct Layout {
    std::size_t segments;
    std::size_t segment_size;  // of all but the last; 0: stripes of kHuffmanStripe bytes are dealt out to the segments in turn
};

// Multiples of six segments, the lanes of a decoder. Stripes level out what a small tensor's parts differ in; larger ones have
// segments to spare.
Layout layout_of(std::size_t size) {
    if (size < 512) return {1, size};
    if (size < 1024) return {2, 0};
    if (size < 2048) return {3, 0};
    if (size < kHuffmanStriped) return {6, 0};
    const auto split = [size](std::size_t parts) { return (size + parts - 1) / parts; };
    const std::size_t segment = size < 65536 ? split(12) : size < 262144 ? split(24) : kHuffmanSegment;
    return {(size + segment - 1) / segment, segment};
}

struct EncodeJob {
    const Order0Kernels& kernels;
    const HuffmanCode& code;
    std::span<const std::uint8_t> symbols;
    const std::uint8_t* coded;  // the coded bytes; null where symbols are still to be packed
    unsigned bits;
    std::size_t size;  // in coded bytes
    Layout layout;
};

// Where the input of the next segments is, and how much.
struct EncodeLanes {
    const std::uint8_t* in[kHuffmanLanes];
    std::size_t sizes[kHuffmanLanes];
};

// Encodes up to kHuffmanLanes segments, from number `first`, on its turn: `at` moves on, beyond `out` where they do not fit. Through
// scratch, since a segment's place is only known once the one before it is done.
template <std::size_t SegmentBound>
void encode_lanes(const EncodeJob& job, const EncodeLanes& lanes, std::size_t first, std::span<std::uint8_t> out, std::size_t& at,
                  Turns::Turn& turn) {
    struct Room {
        std::uint8_t coded[kHuffmanLanes][SegmentBound];
    };
    auto& coded = thread_room<Room>().coded;
    std::uint8_t* to[kHuffmanLanes];
    std::size_t written[kHuffmanLanes];
    for (std::size_t lane = 0; lane < kHuffmanLanes; ++lane) to[lane] = coded[lane];
    job.kernels.huffman_encode(job.code, lanes.in, lanes.sizes, to, written);
    const std::size_t here = std::min<std::size_t>(kHuffmanLanes, job.layout.segments - first);
    const std::size_t size = std::accumulate(written, written + here, std::size_t{0});
    turn.take();
    const bool fits = at <= out.size() && size <= out.size() - at;
    std::size_t place = std::exchange(at, fits ? at + size : SIZE_MAX);
    turn.pass();
    if (!fits) return;
    for (std::size_t lane = 0; lane < here; place += written[lane++]) {
        std::memcpy(out.data() + place, coded[lane], written[lane]);
        if (first + lane + 1 == job.layout.segments) break;
        out[2 * (first + lane)] = static_cast<std::uint8_t>(written[lane]);
        out[2 * (first + lane) + 1] = static_cast<std::uint8_t>(written[lane] >> 8);
    }
}

// One segment, or several striped ones.
template <std::size_t MostBytes>
void encode_small(const EncodeJob& job, std::span<std::uint8_t> out, std::size_t& at) {
    constexpr std::size_t kMostSegments = 6;
    struct Room {
        std::uint8_t packed[MostBytes];
        std::uint8_t striped[MostBytes + kMostSegments * kHuffmanStripe];
    };
    auto& [packed, striped] = thread_room<Room>();
    const std::uint8_t* coded = job.coded;
    if (coded == nullptr) {
        job.kernels.pack(job.symbols.data(), job.symbols.size(), job.bits, packed);
        coded = packed;
    }
    const std::size_t segments = job.layout.segments;
    Turns turns;
    if (segments == 1) {
        const EncodeLanes lanes{{coded, coded, coded}, {job.size, 0, 0}};
        Turns::Turn turn(turns, 0);
        return encode_lanes<512 * kHuffmanMaxLength / 8 + 64>(job, lanes, 0, out, at, turn);
    }
    const std::size_t room = (job.size / (segments * kHuffmanStripe) + 1) * kHuffmanStripe;
    std::size_t sizes[kMostSegments] = {};
    std::size_t from = 0;
    for (std::size_t to = 0; from < job.size; to += kHuffmanStripe) {
        for (std::size_t lane = 0; lane < segments && from < job.size; ++lane, from += kHuffmanStripe) {
            if (job.size - from >= kHuffmanStripe) {
                std::memcpy(striped + lane * room + to, coded + from, kHuffmanStripe);
                sizes[lane] += kHuffmanStripe;
            } else {
                std::memcpy(striped + lane * room + to, coded + from, job.size - from);
                sizes[lane] += job.size - from;
            }
        }
    }
    for (std::size_t first = 0; first < segments; first += kHuffmanLanes) {
        EncodeLanes lanes{};
        for (std::size_t lane = 0; lane < kHuffmanLanes; ++lane) {
            const std::size_t segment = first + lane < segments ? first + lane : 0;
            lanes.in[lane] = striped + segment * room;
            lanes.sizes[lane] = first + lane < segments ? sizes[segment] : 0;
        }
        Turns::Turn turn(turns, first / kHuffmanLanes);
        encode_lanes<(MostBytes / 2 + kHuffmanStripe) * kHuffmanMaxLength / 8 + 64>(job, lanes, first, out, at, turn);
    }
}

void encode_large(const EncodeJob& job, std::span<std::uint8_t> out, std::size_t& at) {
    struct Room {
        std::uint8_t packed[kHuffmanLanes][kHuffmanSegment];
    };
    const unsigned per_byte = symbols_per_byte(job.bits);
    const std::size_t segment = job.layout.segment_size;
    Turns turns;
    const auto encode_next = [&](std::size_t number) {
        Turns::Turn turn(turns, number);
        const std::size_t first = number * kHuffmanLanes;
        auto& packed = thread_room<Room>().packed;
        EncodeLanes lanes{};
        for (std::size_t lane = 0; lane < kHuffmanLanes; ++lane) {
            lanes.in[lane] = packed[lane];
            const std::size_t start = std::min(first + lane, job.layout.segments) * segment;
            if (start >= job.size) continue;
            lanes.sizes[lane] = std::min(segment, job.size - start);
            if (job.coded != nullptr) {
                lanes.in[lane] = job.coded + start;
                continue;
            }
            const std::size_t symbol = start * per_byte;
            const std::size_t count = std::min(lanes.sizes[lane] * per_byte, job.symbols.size() - symbol);
            job.kernels.pack(job.symbols.data() + symbol, count, job.bits, packed[lane]);
        }
        encode_lanes<kHuffmanSegmentBound>(job, lanes, first, out, at, turn);
    };
    const std::size_t count = (job.layout.segments + kHuffmanLanes - 1) / kHuffmanLanes;
    if (worth_sharing(job.symbols.size())) return parallel_for(count, encode_next);
    for (std::size_t i = 0; i < count; ++i) encode_next(i);
}

// The sizes of the segments but the last, then the segments; returns 0 where they do not fit.
std::size_t encode_segments(const EncodeJob& job, std::span<std::uint8_t> out) {
    std::size_t at = 2 * (job.layout.segments - 1);
    if (out.size() < at) return 0;
    if (job.size < 4096) {
        encode_small<4096>(job, out, at);
    } else if (job.size < kHuffmanStriped) {
        encode_small<kHuffmanStriped>(job, out, at);
    } else {
        encode_large(job, out, at);
    }
    return at <= out.size() ? at : 0;
}

constexpr std::size_t kRun = 2 * kHuffmanDecodeLanes;  // segments that a thread decodes at a time: towards its end lanes lie idle

struct DecodeRoom {
    std::uint8_t segments[kHuffmanDecodeRoom];
};

Status decode_segments(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const HuffmanCode& code,
                       const std::uint64_t* table, unsigned index_bits, std::span<std::uint8_t> symbols) {
    const std::size_t size = coded_bytes(symbols.size(), bits);
    if (size == 0) return in.empty() ? Status::ok : Status::trailing;
    const Layout layout = layout_of(size);
    const std::size_t header = 2 * (layout.segments - 1);
    if (in.size() < header) return Status::truncated;
    std::size_t total = 0;
    for (std::size_t i = 0; i < header; i += 2) total += in[i] + std::size_t{in[i + 1]} * 256;
    if (total > in.size() - header) return Status::truncated;
    const std::size_t in_segment = layout.segment_size * symbols_per_byte(bits);
    // Segments from one on, which lie in that part of `in`.
    const auto decode = [&](std::size_t first, std::size_t segments, std::size_t begin, std::size_t end) {
        const std::size_t symbol = first * in_segment;
        const bool last = first + segments == layout.segments;
        return kernels.huffman_decode({.table = table,
                                       .index_bits = index_bits,
                                       .code = &code,
                                       .sizes = in.data() + 2 * first,
                                       .in = in.data() + begin,
                                       .in_end = in.data() + end,
                                       .num_segments = segments,
                                       .segment_size = layout.segment_size,
                                       .bits = bits,
                                       .out = symbols.data() + symbol,
                                       .count = last ? symbols.size() - symbol : segments * in_segment,
                                       .room = table != nullptr ? thread_room<DecodeRoom>().segments : nullptr});
    };
    if (layout.segments <= kRun || !worth_sharing(symbols.size())) {
        return decode(0, layout.segments, header, in.size()) ? Status::ok : Status::bad_code;
    }
    std::vector<std::size_t> begins{header};  // of runs, in `in`
    std::size_t begin = header;
    for (std::size_t i = 0; i < header; i += 2) {
        begin += in[i] + std::size_t{in[i + 1]} * 256;
        if ((i / 2 + 1) % kRun == 0) begins.push_back(begin);
    }
    std::atomic<bool> good{true};
    parallel_for(begins.size(), [&](std::size_t i) {
        const std::size_t end = i + 1 < begins.size() ? begins[i + 1] : in.size();
        if (!decode(i * kRun, std::min(kRun, layout.segments - i * kRun), begins[i], end)) good = false;
    });
    return good ? Status::ok : Status::bad_code;
}

// How the decoding table is built: a longer index and more symbols an entry pay only where many symbols follow.
struct TableShape {
    unsigned index_bits;
    unsigned depth;
};

TableShape table_shape(const HuffmanCode& code, std::size_t size) {
    if (size < 8192) return {std::max<unsigned>(code.longest, 10), 2};
    return {kHuffmanMaxLength, size < 32768 ? 4 : kHuffmanMaxDepth};
}

}  // namespace

std::size_t huffman8_cost(const HuffmanCode& code, const ByteCounts& coded, std::size_t count, unsigned bits) {
    std::uint64_t total = 0;
    for (unsigned i = 0; i < 256; ++i) total += std::uint64_t{coded[i]} * code.lengths[i];
    if (count == 0) return 0;
    return 3 * (layout_of(coded_bytes(count, bits)).segments - 1) + static_cast<std::size_t>((total + 7) / 8);
}

std::size_t huffman8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, const std::uint8_t* packed, unsigned bits,
                            const HuffmanCode& code, std::span<const std::uint8_t> table, std::span<std::uint8_t> out) {
    const std::size_t at = table.size();
    if (at > out.size()) return 0;
    if (at > 0) std::memcpy(out.data(), table.data(), at);
    if (symbols.empty()) return at;
    const std::size_t size = coded_bytes(symbols.size(), bits);
    const std::uint8_t* const coded = symbols_per_byte(bits) == 1 ? symbols.data() : packed;
    const std::size_t written = encode_segments({kernels, code, symbols, coded, bits, size, layout_of(size)}, out.subspan(at));
    return written == 0 ? 0 : at + written;
}

Status huffman8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols) {
    HuffmanCode code;
    std::size_t used = 0;
    if (const Status status = huffman8_read_table(in, bits, code, used); status != Status::ok) return status;
    const std::size_t size = coded_bytes(symbols.size(), bits);
    if (size < kHuffmanSmall) return decode_segments(kernels, in.subspan(used), bits, code, nullptr, 0, symbols);
    const TableShape shape = table_shape(code, size);
    struct Room {
        std::uint64_t table[1u << kHuffmanMaxLength];
        std::uint64_t scratch[1u << kHuffmanMaxLength];
    };
    auto& [table, scratch] = thread_room<Room>();
    kernels.huffman_table(code, shape.index_bits, shape.depth, table, scratch);
    return decode_segments(kernels, in.subspan(used), bits, code, table, shape.index_bits, symbols);
}

Status huffman8_decode_static(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, const HuffmanStatic& fixed,
                              std::span<std::uint8_t> symbols) {
    return decode_segments(kernels, in, bits, fixed.code, fixed.table, kHuffmanMaxLength, symbols);
}

}  // namespace featcodec
