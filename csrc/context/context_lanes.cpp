// Context coder: deals tokens to lanes and runs the kernels over them, a chunk of rows at a time.
#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "context_internal.hpp"
#include "lane_states.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kChunkSymbols = 48 * 1024;  // plane and indices of a chunk stay in the second-level cache
constexpr std::size_t kPad = 128;                 // readable on both sides of the plane
constexpr std::size_t kSharedPlane = 4 * kChunkSymbols;

struct Workspace {
    Buffer<std::uint8_t> plane;
    Buffer<std::uint16_t> indices;
    Buffer<std::uint64_t> tops;
    Buffer<std::uint8_t> contexts;   // gradient only, as what follows
    Buffer<std::uint8_t> residuals;
    Buffer<std::uint8_t> raw;
};

Workspace& workspace() {
    thread_local Workspace instance;
    return instance;
}

std::size_t symbols_of(const ContextShape& shape) { return shape.maps * shape.height * shape.width; }

// ---- lanes ------------------------------------------------------------------------------------------------------------------
struct Lanes {
    LaneLayout layout;
    std::array<std::size_t, kMaxLanes> start{};      // first symbol of each lane, in raster order
    std::uint64_t all = 0;
    std::uint64_t longer = 0;
    std::size_t chunk_length = 0;  // positions of a full chunk: whole rows, or symbols where by_symbol
    std::size_t full = 0;          // positions that every lane has
    std::size_t unit = 0;          // further positions of the longer lanes
    std::size_t row = 0;           // positions of a row, or of a symbol where by_symbol
    std::size_t lookback = 0;      // positions before a chunk that its contexts need
    bool flat = false;             // no row has one above it
    bool gradient = false;         // a plane of errors follows the plane of symbols

    // decodes: the errors of the row above are known, to an encoder they follow from the row above that.
    Lanes(const ContextShape& shape, Neighbours neighbours, bool decodes)
        : layout(lane_layout(shape)), gradient(neighbours == Neighbours::gradient) {
        const unsigned lanes = layout.lanes;
        all = lanes == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lanes) - 1;
        longer = (std::uint64_t{1} << layout.longer) - 1;
        full = layout.rows * layout.width;
        unit = layout.longer == 0 ? 0 : layout.by_symbol ? 1 : layout.width;
        row = layout.by_symbol ? 1 : layout.width;
        const unsigned rows_back = gradient && !decodes ? 2 : 1;
        flat = layout.by_symbol || layout.height == 1 || (layout.rows == 1 && layout.longer == 0);
        lookback = flat && !layout.by_symbol ? 0 : rows_back * row;
        for (unsigned lane = 0; lane < lanes; ++lane) {
            start[lane] = lane * full + std::min(lane, layout.longer) * row;
        }
        const std::size_t positions = std::max<std::size_t>(kChunkSymbols / lanes, rows_back);
        chunk_length = layout.by_symbol ? positions : std::max<std::size_t>(positions / layout.width, rows_back) * layout.width;
    }

    std::size_t chunks() const { return (full + chunk_length - 1) / chunk_length + (unit > 0 ? 1 : 0); }
    std::size_t chunk_begin(std::size_t chunk) const { return std::min(chunk * chunk_length, full); }
    std::size_t chunk_end(std::size_t chunk) const {
        const std::size_t begin = chunk_begin(chunk);
        return begin == full ? full + unit : std::min(begin + chunk_length, full);
    }
    std::uint64_t active(std::size_t chunk) const { return chunk_begin(chunk) == full ? longer : all; }
    // The plane holds the lookback before the chunk's own positions.
    std::size_t plane_bytes() const {
        const std::size_t positions = std::max(std::min(chunk_length, full), unit);
        return (lookback + positions) * layout.lanes + 2 * kPad;
    }
    // The plane and, for gradient, the plane of errors behind it.
    std::size_t all_bytes() const { return gradient ? 2 * plane_bytes() : plane_bytes(); }
    std::ptrdiff_t errors() const { return gradient ? static_cast<std::ptrdiff_t>(plane_bytes()) : 0; }
};

// Of so many rows of the lanes from one on: a bit for each lane that stands at a map's first row, or at its own.
const std::uint64_t* top_rows(const Lanes& lanes, std::size_t first, std::size_t rows) {
    const LaneLayout& layout = lanes.layout;
    if (layout.by_symbol) return &lanes.all;
    std::uint64_t* tops = workspace().tops.get(rows);
    std::fill_n(tops, rows, 0);
    const bool together = layout.height == 1 || (layout.longer == 0 && layout.rows % layout.height == 0);
    for (unsigned lane = 0; lane < (together ? 1 : layout.lanes); ++lane) {
        const std::uint64_t here = together ? lanes.all : std::uint64_t{1} << lane;
        const std::size_t before = lane * layout.rows + std::min(lane, layout.longer) + first;
        for (std::size_t row = (layout.height - before % layout.height) % layout.height; row < rows; row += layout.height) tops[row] |= here;
    }
    if (first == 0) tops[0] = lanes.all;
    return tops;
}

// The first row, or all symbols, of some positions that begin at `tokens`.
RowPart first_part(const Lanes& lanes, std::size_t begin, std::size_t end, std::uint64_t active, std::uint8_t* tokens) {
    const LaneLayout& layout = lanes.layout;
    RowPart part;
    part.lanes = layout.lanes;
    part.active = active;
    part.tokens = tokens;
    part.errors = lanes.errors();
    part.columns = layout.by_symbol ? end - begin : layout.width;
    part.above = lanes.flat ? tokens : tokens - layout.width * layout.lanes;
    part.has_left = layout.by_symbol && begin > 0;
    return part;
}

// Calls visit(part) for the rows of some positions, the first of which lies at `tokens`; tops: of these rows.
template <class Visit>
void visit_parts(const Lanes& lanes, const std::uint64_t* tops, std::size_t begin, std::size_t end, std::uint64_t active, std::uint8_t* tokens,
                 Visit visit) {
    RowPart part = first_part(lanes, begin, end, active, tokens);
    const std::size_t row_bytes = part.columns * part.lanes;
    const std::size_t back = lanes.flat ? 0 : row_bytes;
    const std::size_t rows = (end - begin) / part.columns;
    for (std::size_t row = 0; row < rows; ++row) {
        part.top = tops[row];
        part.above = part.tokens - back;  // not both after the visit: gcc would take SSE for that, which is dear right behind AVX-512
        visit(part);
        part.tokens += row_bytes;
    }
}

// Where lane data of a chunk begins in raster order; lanes that are not active borrow lane 0's place, which they may read.
std::array<std::size_t, kMaxLanes> chunk_offsets(const Lanes& lanes, std::size_t position, std::uint64_t active) {
    std::array<std::size_t, kMaxLanes> offset{};
    for (unsigned lane = 0; lane < lanes.layout.lanes; ++lane) {
        offset[lane] = lanes.start[((active >> lane) & 1) != 0 ? lane : 0] + position;
    }
    return offset;
}

struct Scratch {
    std::uint8_t* plane;
    std::uint16_t* indices;
    std::uint8_t* contexts = nullptr;
    std::uint8_t* residuals = nullptr;
    std::uint8_t* raw = nullptr;
};

Scratch scratch_for(const Lanes& lanes) {
    Workspace& space = workspace();
    const std::size_t bytes = lanes.plane_bytes();
    Scratch scratch{space.plane.get(lanes.all_bytes()), space.indices.get(bytes)};
    if (lanes.gradient) {
        scratch.contexts = space.contexts.get(bytes);
        scratch.residuals = space.residuals.get(bytes);
        scratch.raw = space.raw.get(bytes + kRawSlack);
    }
    return scratch;
}

std::uint64_t load64(const std::uint8_t* p) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, sizeof word);
    return word;
}

// Bits to bit `at` of `to`, over up to kRawSlack bytes behind them; what stood before stays. As much is readable behind `from`.
void put_bits(const std::uint8_t* from, std::uint64_t number, std::uint8_t* to, std::uint64_t at) {
    const unsigned shift = at % 8;
    to += at / 8;
    std::uint64_t carried = *to & ((1u << shift) - 1);
    for (std::uint64_t i = 0; i <= number / 8; i += 8) {  // one bit more than there are: the last byte may be carried
        const std::uint64_t word = load64(from + i);
        const std::uint64_t out = (word << shift) | carried;
        std::memcpy(to + i, &out, sizeof out);
        carried = shift == 0 ? 0 : word >> (64 - shift);
    }
    std::memcpy(to + (number / 8 / 8 + 1) * 8, &carried, sizeof carried);
}

// Puts bits before those that are there already.
void prepend_bits(const std::uint8_t* from, std::uint64_t number, RawBits& raw) {
    const std::uint64_t end = 8 * std::uint64_t{raw.room.size()} - raw.number;
    std::uint8_t* behind = raw.room.data() + end / 8;
    std::array<std::uint8_t, kRawSlack> kept;
    std::memcpy(kept.data(), behind, kept.size());
    put_bits(from, number, raw.room.data(), end - number);
    const unsigned own = (1u << (end % 8)) - 1;
    kept[0] = static_cast<std::uint8_t>((*behind & own) | (kept[0] & ~own));
    std::memcpy(behind, kept.data(), kept.size());
    raw.number += number;
}

// Turns the residuals of a chunk into tokens, whose raw bits land in scratch.raw; idle lanes are passed by. Returns the raw bits.
std::uint64_t split_residuals(const LaneJob& job, const TokenClasses& classes, const Lanes& lanes, std::uint64_t active, std::size_t positions,
                              const Scratch& scratch) {
    if (classes.raw) return 0;
    const unsigned count = lanes.layout.lanes;
    const auto working = static_cast<unsigned>(std::popcount(active));
    std::uint8_t* tokens = scratch.residuals;
    if (working < count) {
        for (std::size_t p = 0; p < positions; ++p) std::memmove(tokens + p * working, tokens + p * count, working);
    }
    const std::uint64_t raw_bits = job.kernels.split(tokens, positions * working, classes, tokens, scratch.raw);
    if (working < count) {
        for (std::size_t p = positions; p-- > 0;) std::memmove(tokens + p * count, tokens + p * working, working);
    }
    return raw_bits;
}

// Whether several threads work on the chunks: the symbols are many and a chunk, for which each thread has room then, is not.
bool shares_chunks(const Lanes& lanes, std::size_t symbols) {
    return lanes.chunks() > 1 && lanes.plane_bytes() <= kSharedPlane && worth_sharing(symbols);
}

// Calls work(chunk, turn) for the chunks, whose turns come in the order given.
template <class Work>
void for_chunks(const Lanes& lanes, bool shared, bool backwards, const Work& work) {
    const std::size_t chunks = lanes.chunks();
    Turns turns;
    const auto work_on = [&](std::size_t i) {
        Turns::Turn turn(turns, i);
        work(backwards ? chunks - 1 - i : i, turn);
    };
    if (shared) return parallel_for(chunks, work_on);
    for (std::size_t i = 0; i < chunks; ++i) work_on(i);
}

// Fills the indices of a chunk and, for gradient, scratch.raw; returns the raw bits.
std::uint64_t index_chunk(const LaneJob& job, const TokenClasses& classes, const Lanes& lanes, std::size_t chunk, const std::uint8_t* tokens,
                          const Scratch& scratch) {
    const std::size_t begin = lanes.chunk_begin(chunk);
    const std::size_t end = lanes.chunk_end(chunk);
    const unsigned count = lanes.layout.lanes;
    const std::uint64_t active = lanes.active(chunk);
    const std::size_t before = std::min(begin, lanes.lookback);
    std::uint8_t* own = scratch.plane + kPad + lanes.lookback * count;
    const auto offset = chunk_offsets(lanes, begin - before, active);
    job.kernels.deal(tokens, offset.data(), count, end - begin + before, own - before * count);
    if (before == 0) std::memset(scratch.plane + kPad, 0, lanes.lookback * count);
    std::uint16_t* to = scratch.indices;
    const std::size_t back = lanes.gradient && before > 0 ? 1 : 0;  // rows whose errors are wanted
    const std::uint64_t* tops = top_rows(lanes, begin / lanes.row - back, (end - begin) / lanes.row + back);
    if (!lanes.gradient) {
        visit_parts(lanes, tops, begin, end, active, own, [&](const RowPart& part) {
            job.kernels.index(part, job.neighbours == Neighbours::four, to);
            to += part.columns * count;
        });
        return 0;
    }
    std::uint8_t* contexts = scratch.contexts;
    std::uint8_t* residuals = scratch.residuals;
    const auto predict = [&](const RowPart& part) {
        job.kernels.predict(part, job.bits, contexts, residuals);
        contexts += part.columns * count;
        residuals += part.columns * count;
    };
    if (back > 0) {
        visit_parts(lanes, tops, begin - lanes.row, begin, active, own - lanes.row * count, predict);
        contexts = scratch.contexts;
        residuals = scratch.residuals;
        if (!lanes.layout.by_symbol) ++tops;
    }
    visit_parts(lanes, tops, begin, end, active, own, predict);
    const std::uint64_t raw_bits = split_residuals(job, classes, lanes, active, end - begin, scratch);
    job.kernels.pair(scratch.contexts, scratch.residuals, (end - begin) * count, to);
    return raw_bits;
}

void count_chunk(const LaneJob& job, const Lanes& lanes, std::size_t chunk, const std::uint16_t* indices, ContextCounts& counts) {
    const std::size_t positions = lanes.chunk_end(chunk) - lanes.chunk_begin(chunk);
    const auto active = static_cast<unsigned>(std::popcount(lanes.active(chunk)));
    if (active == lanes.layout.lanes) return job.kernels.count(indices, positions * active, contexts_of(job.neighbours), counts.data());
    for (std::size_t p = 0; p < positions; ++p) {
        for (unsigned lane = 0; lane < active; ++lane) ++counts[indices[p * lanes.layout.lanes + lane]];
    }
}

}  // namespace

void context_copy_raw(const RawBits& raw, std::uint8_t* to) {
    const std::uint64_t begin = 8 * std::uint64_t{raw.room.size()} - raw.number;
    const std::uint8_t* from = raw.room.data() + begin / 8;
    const auto bytes = static_cast<std::size_t>((raw.number + 7) / 8);
    std::size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        const std::uint64_t word = load64(from + i) >> (begin % 8) | (std::uint64_t{from[i + 8]} << 8) << (56 - begin % 8);
        std::memcpy(to + i, &word, sizeof word);
    }
    for (; i < bytes; ++i) to[i] = static_cast<std::uint8_t>((from[i] | unsigned{from[i + 1]} << 8) >> (begin % 8));
}

void context_append_bits(const std::uint8_t* from, std::uint64_t number, std::uint8_t* to, std::uint64_t have) {
    put_bits(from, number, to, have);
    const std::uint64_t end = have + number;
    to[end / 8] = static_cast<std::uint8_t>(to[end / 8] & ((1u << (end % 8)) - 1));
}

std::uint64_t context_count_tokens(const LaneJob& job, const std::uint8_t* tokens, ContextCounts* counts, std::uint8_t* raw) {
    const Lanes lanes(job.shape, job.neighbours, false);
    const TokenClasses classes = token_classes(job.bits, lanes.gradient ? Neighbourhood::gradient : Neighbourhood::near);
    const bool shared = shares_chunks(lanes, symbols_of(job.shape));
    std::uint64_t raw_bits = 0;
    for_chunks(lanes, shared, false, [&](std::size_t chunk, Turns::Turn& turn) {
        struct Room {
            ContextCounts counts;
        };
        const Scratch scratch = scratch_for(lanes);
        const std::uint64_t more = index_chunk(job, classes, lanes, chunk, tokens, scratch);
        ContextCounts* const own = shared && counts != nullptr ? &thread_room<Room>().counts : counts;
        if (own != counts) own->fill(0);
        if (own != nullptr) count_chunk(job, lanes, chunk, scratch.indices, *own);
        turn.take();
        if (raw != nullptr) context_append_bits(scratch.raw, more, raw, raw_bits);
        raw_bits += more;
        if (own != counts) std::transform(own->begin(), own->end(), counts->begin(), counts->begin(), std::plus<>());
    });
    return raw_bits;
}

std::uint8_t* context_encode_tokens(const LaneJob& job, const std::uint8_t* tokens, const ContextModel& model, std::uint8_t* end,
                                    bool indexed, RawBits* raw) {
    const Lanes lanes(job.shape, job.neighbours, false);
    const TokenClasses classes = token_classes(job.bits, model.neighbourhood);
    const unsigned count = lanes.layout.lanes;
    LaneStates states;
    states.state.fill(kStateLow);
    states.front = end;
    for_chunks(lanes, shares_chunks(lanes, symbols_of(job.shape)), true, [&](std::size_t chunk, Turns::Turn& turn) {
        const Scratch scratch = scratch_for(lanes);
        // a single chunk's indices are still in the workspace
        const bool is_indexed = indexed && lanes.chunks() == 1;
        const std::uint64_t raw_bits = is_indexed ? 0 : index_chunk(job, classes, lanes, chunk, tokens, scratch);
        turn.take();
        if (raw != nullptr) prepend_bits(scratch.raw, raw_bits, *raw);
        job.kernels.encode(model, scratch.indices, lanes.chunk_end(chunk) - lanes.chunk_begin(chunk), count, lanes.active(chunk), states);
    });
    std::uint8_t first[kLaneStatesBound];
    const std::size_t size = write_lane_states({states.state.data(), count}, kStateWidth, first);
    return std::copy_backward(first, first + size, states.front);
}

namespace {

// A step may read past the raw bits: behind a copy of them there is room.
void copy_raw(std::span<const std::uint8_t> raw, LaneStates& states) {
    std::uint8_t* copy = workspace().raw.get(raw.size() + kRawSlack);
    std::copy(raw.begin(), raw.end(), copy);
    std::memset(copy + raw.size(), 0, kRawSlack);
    states.raw = copy;
    states.raw_bits = 8 * std::uint64_t{raw.size()};
}

Status ended_well(const LaneStates& states, const ContextModel& model, std::span<const std::uint8_t> raw) {
    if (states.raw_bit > states.raw_bits) return Status::truncated;
    if (states.next != states.end) return Status::trailing;
    const bool clean = std::all_of(states.state.begin(), states.state.end(), [](std::uint32_t x) { return x == kStateLow; });
    if (!clean) return Status::bad_code;
    if (model.neighbourhood != Neighbourhood::gradient) return Status::ok;
    if ((states.raw_bit + 7) / 8 != raw.size()) return Status::trailing;
    return states.raw_bit % 8 != 0 && (raw.back() >> (states.raw_bit % 8)) != 0 ? Status::trailing : Status::ok;
}

}  // namespace

Status context_decode_tokens(const LaneJob& job, std::span<const std::uint8_t> in, const ContextModel& model,
                             std::span<const std::uint8_t> raw, std::uint8_t* tokens) {
    const Lanes lanes(job.shape, job.neighbours, true);
    const unsigned count = lanes.layout.lanes;
    LaneStates states;
    states.state.fill(kStateLow);
    std::size_t used = 0;
    const Status status = read_lane_states(in, kStateWidth, {states.state.data(), count}, used);
    if (status != Status::ok) return status;
    states.next = in.data() + used;
    states.end = in.data() + in.size();
    if (lanes.gradient) copy_raw(raw, states);
    std::uint8_t* plane = workspace().plane.get(lanes.all_bytes());
    std::uint8_t* own = plane + kPad + lanes.lookback * count;
    std::memset(plane, 0, kPad + lanes.lookback * count);
    for (std::size_t chunk = 0; chunk < lanes.chunks(); ++chunk) {
        const std::size_t begin = lanes.chunk_begin(chunk);
        const std::size_t end = lanes.chunk_end(chunk);
        const std::size_t positions = end - begin;
        const RowPart part = first_part(lanes, begin, end, lanes.active(chunk), own);
        const std::size_t rows = positions / part.columns;
        const std::uint64_t* tops = top_rows(lanes, begin / part.columns, rows);
        if (!job.kernels.decode(model, part, tops, rows, states)) return Status::truncated;
        // Only a last chunk has idle lanes, and they are the last ones.
        if (lanes.active(chunk) == lanes.all) {
            job.kernels.collect(own, chunk_offsets(lanes, begin, lanes.all).data(), count, positions, tokens);
            const std::size_t kept = lanes.lookback * count;
            std::uint8_t* last = own + positions * count - kept;
            std::memmove(own - kept, last, kept);
            if (lanes.gradient) std::memmove(own - kept + lanes.errors(), last + lanes.errors(), kept);
        } else {
            for (unsigned lane = 0; lane < lanes.layout.longer; ++lane) {
                for (std::size_t p = 0; p < positions; ++p) tokens[lanes.start[lane] + begin + p] = own[p * count + lane];
            }
        }
    }
    return ended_well(states, model, raw);
}

unsigned context_lanes(const ContextShape& shape) {
    const std::size_t symbols = symbols_of(shape);
    unsigned lanes = symbols < 128 ? 1 : symbols < 2048 ? 4 : symbols < 32768 ? 16 : symbols < 131072 ? 32 : 64;
    // A lane's first row has no row above it: four rows a lane at least, or whole maps.
    while (lanes > 16 && shape.maps * shape.height < 4 * std::size_t{lanes} && shape.maps % lanes != 0) lanes /= 2;
    return lanes;
}

LaneLayout lane_layout(const ContextShape& shape) {
    const std::size_t symbols = symbols_of(shape);
    const std::size_t rows = shape.maps * shape.height;
    LaneLayout layout;
    layout.height = shape.height;
    layout.width = shape.width;
    const unsigned lanes = shape.lanes > 0 ? shape.lanes : context_lanes(shape);
    layout.lanes = lanes;
    layout.by_symbol = rows < lanes;
    const std::size_t units = layout.by_symbol ? symbols : rows;
    layout.longer = static_cast<unsigned>(units % lanes);
    layout.rows = layout.by_symbol ? 1 : rows / lanes;
    if (layout.by_symbol) layout.width = symbols / lanes;
    return layout;
}

}  // namespace featcodec
