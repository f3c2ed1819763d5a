// Context coder: deals tokens to lanes and runs the kernels over them, a chunk of rows at a time.
#include <algorithm>
#include <bit>
#include <cstring>

#include "context_buffer.hpp"
#include "context_internal.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kChunkSymbols = 48 * 1024;  // plane and indices of a chunk stay in the second-level cache
constexpr std::size_t kPad = 128;                 // readable on both sides of the plane

struct Workspace {
    Buffer<std::uint8_t> plane;
    Buffer<std::uint16_t> indices;
};

Workspace& workspace() {
    thread_local Workspace instance;
    return instance;
}

// ---- lanes ------------------------------------------------------------------------------------------------------------------
struct Lanes {
    LaneLayout layout;
    std::array<std::size_t, kMaxLanes> start{};      // first symbol of each lane, in raster order
    std::array<std::size_t, kMaxLanes> start_row{};  // the same in rows
    std::uint64_t all = 0;
    std::uint64_t longer = 0;
    std::size_t chunk_length = 0;  // positions of a full chunk: whole rows, or symbols where by_symbol
    std::size_t full = 0;          // positions that every lane has
    std::size_t unit = 0;          // further positions of the longer lanes
    std::size_t lookback = 0;      // positions before a chunk that its contexts need

    explicit Lanes(const ContextShape& shape) : layout(lane_layout(shape)) {
        const unsigned lanes = layout.lanes;
        all = lanes == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lanes) - 1;
        longer = (std::uint64_t{1} << layout.longer) - 1;
        full = layout.rows * layout.width;
        unit = layout.longer == 0 ? 0 : layout.by_symbol ? 1 : layout.width;
        lookback = layout.by_symbol ? 1 : layout.width;
        for (unsigned lane = 0; lane < lanes; ++lane) {
            start_row[lane] = layout.by_symbol ? 0 : lane * layout.rows + std::min(lane, layout.longer);
            start[lane] = layout.by_symbol ? lane * full + std::min(lane, layout.longer) : start_row[lane] * layout.width;
        }
        const std::size_t positions = std::max<std::size_t>(kChunkSymbols / lanes, 1);
        chunk_length = layout.by_symbol ? positions : std::max<std::size_t>(positions / layout.width, 1) * layout.width;
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
};

// Which lanes stand at a map's first row, row after row.
class TopRows {
public:
    TopRows(const Lanes& lanes, std::size_t row) : lanes_(lanes), row_(row) {
        const LaneLayout& layout = lanes.layout;
        uniform_ = true;
        for (unsigned lane = 0; lane < layout.lanes; ++lane) {
            phase_[lane] = (lanes.start_row[lane] + row) % layout.height;
            uniform_ = uniform_ && phase_[lane] == phase_[0];
        }
    }
    std::uint64_t mask() const {
        if (row_ == 0) return lanes_.all;
        if (uniform_) return phase_[0] == 0 ? lanes_.all : 0;
        std::uint64_t bits = 0;
        for (unsigned lane = 0; lane < lanes_.layout.lanes; ++lane) bits |= std::uint64_t{phase_[lane] == 0} << lane;
        return bits;
    }
    void advance() {
        ++row_;
        const unsigned lanes = uniform_ ? 1 : lanes_.layout.lanes;
        for (unsigned lane = 0; lane < lanes; ++lane) phase_[lane] = phase_[lane] + 1 == lanes_.layout.height ? 0 : phase_[lane] + 1;
    }

private:
    const Lanes& lanes_;
    std::array<std::size_t, kMaxLanes> phase_{};
    std::size_t row_;
    bool uniform_ = false;
};

// Calls visit(part) for the rows of a chunk whose first position lies at `tokens`; false as soon as visit says so.
template <class Visit>
bool visit_parts(const Lanes& lanes, std::size_t chunk, std::uint8_t* tokens, Visit visit) {
    const LaneLayout& layout = lanes.layout;
    const std::size_t begin = lanes.chunk_begin(chunk);
    const std::size_t end = lanes.chunk_end(chunk);
    RowPart part;
    part.lanes = layout.lanes;
    part.active = lanes.active(chunk);
    part.tokens = tokens;
    if (layout.by_symbol) {
        part.above = tokens;
        part.columns = end - begin;
        part.top = lanes.all;
        part.has_left = begin > 0;
        part.has_right = false;
        return visit(part);
    }
    part.columns = layout.width;
    TopRows top(lanes, begin / layout.width);
    const std::size_t row_bytes = layout.width * layout.lanes;
    for (std::size_t position = begin; position < end; position += layout.width) {
        part.top = top.mask();
        part.above = part.tokens - row_bytes;
        if (!visit(part)) return false;
        part.tokens += row_bytes;
        top.advance();
    }
    return true;
}

// Where lane data of a chunk begins in raster order; lanes that are not active borrow lane 0's place, which they may read.
std::array<std::size_t, kMaxLanes> chunk_offsets(const Lanes& lanes, std::size_t position, std::uint64_t active) {
    std::array<std::size_t, kMaxLanes> offset{};
    for (unsigned lane = 0; lane < lanes.layout.lanes; ++lane) {
        offset[lane] = lanes.start[((active >> lane) & 1) != 0 ? lane : 0] + position;
    }
    return offset;
}

// Fills the indices of a chunk; returns how many positions it has.
std::size_t index_chunk(const ContextKernels& kernels, const Lanes& lanes, std::size_t chunk, const std::uint8_t* tokens, bool narrow,
                        std::uint8_t* plane, std::uint16_t* indices) {
    const std::size_t begin = lanes.chunk_begin(chunk);
    const std::size_t end = lanes.chunk_end(chunk);
    const unsigned count = lanes.layout.lanes;
    const std::size_t before = begin > 0 ? lanes.lookback : 0;
    std::uint8_t* own = plane + kPad + lanes.lookback * count;
    const auto offset = chunk_offsets(lanes, begin - before, lanes.active(chunk));
    kernels.deal(tokens, offset.data(), count, end - begin + before, own - before * count);
    if (before == 0) std::memset(plane + kPad, 0, lanes.lookback * count);
    std::uint16_t* to = indices;
    visit_parts(lanes, chunk, own, [&](const RowPart& part) {
        kernels.index(part, narrow, to);
        to += part.columns * count;
        return true;
    });
    return end - begin;
}

struct Scratch {
    std::uint8_t* plane;
    std::uint16_t* indices;
};

Scratch scratch_for(const Lanes& lanes) {
    Workspace& space = workspace();
    const std::size_t bytes = lanes.plane_bytes();
    return {space.plane.get(bytes), space.indices.get(bytes)};
}

}  // namespace

void context_count_tokens(const ContextKernels& kernels, const std::uint8_t* tokens, const ContextShape& shape, bool narrow, ContextCounts& counts) {
    const Lanes lanes(shape);
    const Scratch scratch = scratch_for(lanes);
    for (std::size_t chunk = 0; chunk < lanes.chunks(); ++chunk) {
        const std::size_t positions = index_chunk(kernels, lanes, chunk, tokens, narrow, scratch.plane, scratch.indices);
        const auto active = static_cast<unsigned>(std::popcount(lanes.active(chunk)));
        if (active == lanes.layout.lanes) {
            kernels.count(scratch.indices, positions * active, counts.data());
            continue;
        }
        for (std::size_t p = 0; p < positions; ++p) {
            for (unsigned lane = 0; lane < active; ++lane) ++counts[scratch.indices[p * lanes.layout.lanes + lane]];
        }
    }
}

// Writes states and words so that they end at `end`; returns where they begin.
std::uint8_t* context_encode_tokens(const ContextKernels& kernels, const std::uint8_t* tokens, const ContextShape& shape, const ContextModel& model,
                            std::uint8_t* end, bool indexed) {
    const Lanes lanes(shape);
    const Scratch scratch = scratch_for(lanes);
    const unsigned count = lanes.layout.lanes;
    LaneStates states;
    states.state.fill(kStateLow);
    states.front = end;
    for (std::size_t chunk = lanes.chunks(); chunk-- > 0;) {
        const bool ready = indexed && lanes.chunks() == 1;  // a single chunk's indices are still in the workspace
        const std::size_t positions = ready ? lanes.chunk_end(chunk) - lanes.chunk_begin(chunk)
                                            : index_chunk(kernels, lanes, chunk, tokens, model.narrow, scratch.plane, scratch.indices);
        kernels.encode(model, scratch.indices, positions, count, lanes.active(chunk), states);
    }
    for (unsigned lane = count; lane-- > 0;) {
        for (unsigned byte = 4; byte-- > 0;) *--states.front = static_cast<std::uint8_t>(states.state[lane] >> (8 * byte));
    }
    return states.front;
}

Status context_decode_tokens(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape,
                     const ContextModel& model, std::uint8_t* tokens) {
    const Lanes lanes(shape);
    const unsigned count = lanes.layout.lanes;
    if (in.size() < 4 * std::size_t{count}) return Status::truncated;
    LaneStates states;
    states.state.fill(kStateLow);
    for (unsigned lane = 0; lane < count; ++lane) {
        std::uint32_t x = 0;
        for (unsigned byte = 0; byte < 4; ++byte) x |= std::uint32_t{in[4 * lane + byte]} << (8 * byte);
        if (x < kStateLow) return Status::bad_code;
        states.state[lane] = x;
    }
    states.next = in.data() + 4 * count;
    states.end = in.data() + in.size();
    std::uint8_t* plane = workspace().plane.get(lanes.plane_bytes());
    std::uint8_t* own = plane + kPad + lanes.lookback * count;
    std::memset(plane, 0, kPad + lanes.lookback * count);
    for (std::size_t chunk = 0; chunk < lanes.chunks(); ++chunk) {
        const auto visit = [&](const RowPart& part) { return kernels.decode(model, part, states); };
        if (!visit_parts(lanes, chunk, own, visit)) return Status::truncated;
        const std::size_t begin = lanes.chunk_begin(chunk);
        const std::size_t positions = lanes.chunk_end(chunk) - begin;
        // Only a last chunk has idle lanes, and they are the last ones.
        if (lanes.active(chunk) == lanes.all) {
            kernels.collect(own, chunk_offsets(lanes, begin, lanes.all).data(), count, positions, tokens);
            std::memmove(plane + kPad, own + (positions - lanes.lookback) * count, lanes.lookback * count);
        } else {
            for (unsigned lane = 0; lane < lanes.layout.longer; ++lane) {
                for (std::size_t p = 0; p < positions; ++p) tokens[lanes.start[lane] + begin + p] = own[p * count + lane];
            }
        }
    }
    if (states.next != states.end) return Status::trailing;
    const bool clean = std::all_of(states.state.begin(), states.state.end(), [](std::uint32_t x) { return x == kStateLow; });
    return clean ? Status::ok : Status::bad_code;
}

LaneLayout lane_layout(const ContextShape& shape) {
    const std::size_t symbols = shape.maps * shape.height * shape.width;
    const std::size_t rows = shape.maps * shape.height;
    LaneLayout layout;
    layout.height = shape.height;
    layout.width = shape.width;
    unsigned lanes = symbols < 128 ? 1 : symbols < 2048 ? 4 : symbols < 32768 ? 16 : symbols < 131072 ? 32 : 64;
    // A lane's first row has no row above it: four rows a lane at least, or whole maps.
    while (lanes > 16 && rows < 4 * std::size_t{lanes} && shape.maps % lanes != 0) lanes /= 2;
    layout.lanes = lanes;
    layout.by_symbol = rows < lanes;
    const std::size_t units = layout.by_symbol ? symbols : rows;
    layout.longer = static_cast<unsigned>(units % lanes);
    layout.rows = layout.by_symbol ? 1 : rows / lanes;
    if (layout.by_symbol) layout.width = symbols / lanes;
    return layout;
}

}  // namespace featcodec
