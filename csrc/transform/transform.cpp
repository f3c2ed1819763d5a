// The way of one sample, and of a batch.
#include "transform.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "default_floats.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "transform_blocks.hpp"
#include "transform_code.hpp"
#include "transform_passes.hpp"

namespace featcodec {
namespace {

constexpr std::uint8_t kEscaped = 128;   // of the first byte
constexpr std::size_t kVarintBytes = 4;  // at most
constexpr std::size_t kKeptPlans = 8;

static_assert(std::endian::native == std::endian::little);  // floats are sent so

// The two buffers of a sample's integers of 16 bits.
struct Rooms {
    Rooms(const TransformShape& shape, std::size_t blocks) {
        thread_local Buffer<std::int16_t> first, second;
        const std::size_t room = block_room(shape, blocks);
        values = first.get(room);
        other = second.get(room);
    }
    std::int16_t* values;
    std::int16_t* other;
};

// task(range, components) for the blocks of a sample, some at a time.
template <class Number, class Task>
void for_ranges(const TransformPlan& plan, std::size_t blocks, const Task& task) {
    thread_local Buffer<Number> room;
    const std::size_t at_once = std::min(blocks, blocks_at_once(plan));
    Number* const components = room.get(at_once * plan.size + kPanelRows);
    for (std::size_t first = 0; first < blocks; first += at_once) {
        task(BlockRange{first, std::min(at_once, blocks - first)}, components);
    }
}

void put_varint(std::uint32_t value, std::vector<std::uint8_t>& bytes) {
    for (; value >= 128; value >>= 7) bytes.push_back(static_cast<std::uint8_t>(value | 128));
    bytes.push_back(static_cast<std::uint8_t>(value));
}

void put_escapes(std::span<const TransformEscape> escapes, std::vector<std::uint8_t>& bytes) {
    put_varint(static_cast<std::uint32_t>(escapes.size()), bytes);
    std::uint32_t next = 0;
    for (const TransformEscape& escape : escapes) {
        put_varint(escape.position - next, bytes);
        next = escape.position + 1;
        std::uint8_t value[sizeof(float)];
        std::memcpy(value, &escape.value, sizeof value);
        bytes.insert(bytes.end(), std::begin(value), std::end(value));
    }
}

// What is read of a payload from its front.
class Front {
public:
    explicit Front(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}

    Status get_varint(std::uint32_t& value) noexcept {
        value = 0;
        for (std::size_t i = 0; i < kVarintBytes; ++i) {
            if (bytes_.empty()) return Status::truncated;
            const std::uint8_t byte = bytes_[0];
            bytes_ = bytes_.subspan(1);
            value |= std::uint32_t{byte & 127u} << 7 * i;
            if (byte < 128) return byte == 0 && i > 0 ? Status::bad_range : Status::ok;
        }
        return Status::bad_range;
    }

    Status get_float(float& value) noexcept {
        if (bytes_.size() < sizeof value) return Status::truncated;
        std::memcpy(&value, bytes_.data(), sizeof value);
        bytes_ = bytes_.subspan(sizeof value);
        return std::isfinite(value) ? Status::ok : Status::bad_range;
    }

    std::span<const std::uint8_t> rest() const noexcept { return bytes_; }

private:
    std::span<const std::uint8_t> bytes_;
};

// Over so many values; `x` null to look at them only.
Status get_escapes(Front& front, std::size_t values, float* x) {
    std::uint32_t count = 0;
    if (const Status status = front.get_varint(count); status != Status::ok) return status;
    if (count == 0 || count > values) return Status::bad_range;
    std::size_t position = 0;
    for (std::uint32_t i = 0; i < count; ++i, ++position) {
        std::uint32_t gap = 0;
        float value = 0.0f;
        if (const Status status = front.get_varint(gap); status != Status::ok) return status;
        position += gap;
        if (position >= values) return Status::bad_range;
        if (const Status status = front.get_float(value); status != Status::ok) return status;
        if (x != nullptr) x[position] = value;
    }
    return Status::ok;
}

template <class Task>
void for_all(std::size_t samples, std::size_t values, const Task& task) {
    const auto guarded = [&](std::size_t i) {
        const TrimAtEnd trim;
        const DefaultFloats floats;
        task(i);
    };
    if (samples >= 2 && samples * values >= kInlineSymbols) return parallel_for(samples, guarded);
    for (std::size_t i = 0; i < samples; ++i) guarded(i);
}

}  // namespace

struct TransformCoder::Parts : TransformParts {
    using TransformParts::TransformParts;

    // A quality is asked for again and again; few are at one time.
    std::shared_ptr<const TransformPlan> plan(unsigned quality) const {
        const std::lock_guard lock(mutex);
        for (const auto& [of, kept] : plans) {
            if (kept && of == quality) return kept;
        }
        auto& slot = plans[next++ % kKeptPlans];
        slot = {quality, std::make_shared<const TransformPlan>(*this, quality)};
        return slot.second;
    }

    std::size_t values(const TransformGrid& grid) const noexcept { return shape.maps * grid.height * grid.width; }
    bool sample_frequencies(const TransformPlan& plan, const TransformGrid& grid, const float* x, const Rooms& rooms,
                            std::vector<TransformEscape>& escapes) const;
    bool encode(const TransformPlan& plan, const TransformGrid& grid, unsigned quality, const float* x, std::vector<std::uint8_t>& payload) const;
    Status decode(std::span<const std::uint8_t> payload, const TransformGrid& grid, float* x) const;
    // set(range, components) sets those of the blocks that are coded, which are zero before; false ends it.
    template <class Set>
    bool make_sample(const TransformPlan& plan, const TransformGrid& grid, float* x, const Set& set) const;

    mutable std::mutex mutex;
    mutable std::pair<unsigned, std::shared_ptr<const TransformPlan>> plans[kKeptPlans];
    mutable std::size_t next = 0;
};

bool TransformCoder::Parts::sample_frequencies(const TransformPlan& plan, const TransformGrid& grid, const float* x, const Rooms& rooms,
                                               std::vector<TransformEscape>& escapes) const {
    if (!floats_to_blocks(*this, grid, x, rooms.values, escapes)) return false;
    forward_cosine(*this, plan, grid.blocks(), rooms.values, rooms.other);
    return true;
}

bool TransformCoder::Parts::encode(const TransformPlan& plan, const TransformGrid& grid, unsigned quality, const float* x,
                                   std::vector<std::uint8_t>& payload) const {
    const Rooms rooms(shape, grid.blocks());
    std::vector<TransformEscape> escapes;
    if (!sample_frequencies(plan, grid, x, rooms, escapes)) return false;
    TransformCode code(*this, plan);
    for_ranges<std::int32_t>(plan, grid.blocks(), [&](BlockRange range, std::int32_t* components) {
        forward_maps(*this, plan, grid.blocks(), rooms.values, range, components);
        for (std::size_t b = 0; b < range.count; ++b) code.put_block(components + b * plan.size);
    });
    const auto bytes = code.finish();
    payload.reserve(1 + bytes.size());
    payload.assign(1, static_cast<std::uint8_t>(quality | (escapes.empty() ? 0u : kEscaped)));
    if (!escapes.empty()) put_escapes(escapes, payload);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    return true;
}

template <class Set>
bool TransformCoder::Parts::make_sample(const TransformPlan& plan, const TransformGrid& grid, float* x, const Set& set) const {
    const Rooms rooms(shape, grid.blocks());
    bool good = true;
    for_ranges<std::int16_t>(plan, grid.blocks(), [&](BlockRange range, std::int16_t* components) {
        std::fill_n(components, range.count * plan.size + kPanelRows, std::int16_t{0});
        good = good && set(range, components);
        if (good) inverse_maps(*this, plan, grid.blocks(), components, range, rooms.values);
    });
    if (!good) return false;
    inverse_cosine(*this, plan, grid.blocks(), rooms.values, rooms.other);
    blocks_to_floats(*this, grid, rooms.values, x);
    return true;
}

Status TransformCoder::Parts::decode(std::span<const std::uint8_t> payload, const TransformGrid& grid, float* x) const {
    if (payload.empty()) return Status::truncated;
    const unsigned quality = payload[0] & 127u;
    if (quality > kMostQuality) return Status::bad_mode;
    const bool escaped = payload[0] >= kEscaped;
    Front front(payload.subspan(1));
    if (escaped) {
        if (const Status status = get_escapes(front, values(grid), nullptr); status != Status::ok) return status;
    }
    ArithmeticDecoder decoder(front.rest());
    TransformDrift drift(*this);
    const auto own = plan(quality);
    const bool good = make_sample(*own, grid, x, [&](BlockRange range, std::int16_t* components) {
        for (std::size_t b = 0; b < range.count; ++b) {
            if (!get_block(*own, drift, decoder, components + b * own->size)) return false;
        }
        return true;
    });
    if (!good) return Status::bad_code;
    if (!decoder.at_clean_end()) return Status::trailing;
    if (!escaped) return Status::ok;
    Front again(payload.subspan(1));
    return get_escapes(again, values(grid), x);
}

TransformGrid transform_grid(const TransformShape& shape, std::size_t height, std::size_t width) {
    if (height == 0 || width == 0) throw std::invalid_argument("a grid has at least one row and one column");
    if (height > kMostGrid || width > kMostGrid) throw std::invalid_argument("a grid has at most 2^26 values");
    const std::size_t down = (height - 1) / shape.block_height + 1, across = (width - 1) / shape.block_width + 1;
    if (down * across > kMostGrid / shape.places()) throw std::invalid_argument("a grid has at most 2^26 values");
    return {height, width, down, across};
}

TransformCoder::TransformCoder(const TransformShape& shape, const TransformState& state) {
    if (const char* problem = transform_problem(shape, state); problem != nullptr) throw std::invalid_argument(problem);
    parts_ = std::make_unique<const Parts>(shape, state);
}

TransformCoder::~TransformCoder() = default;

const TransformShape& TransformCoder::shape() const noexcept { return parts_->shape; }

TransformEncoded TransformCoder::encode(std::span<const float> x, const TransformGrid& grid, unsigned quality) const {
    if (quality > kMostQuality) throw std::invalid_argument("quality must be 0..100");
    const std::size_t values = parts_->values(grid);
    const auto plan = parts_->plan(quality);
    TransformEncoded result;
    result.payloads.resize(x.size() / values);
    std::atomic<bool> finite{true};
    for_all(result.payloads.size(), values, [&](std::size_t i) {
        if (!parts_->encode(*plan, grid, quality, x.data() + i * values, result.payloads[i])) finite = false;
    });
    result.finite = finite;
    return result;
}

Status TransformCoder::decode(std::span<const std::span<const std::uint8_t>> payloads, const TransformGrid& grid, std::span<float> x) const {
    const std::size_t values = parts_->values(grid);
    if (x.size() != payloads.size() * values) throw std::invalid_argument("a payload is a sample");
    std::vector<Status> statuses(payloads.size(), Status::ok);
    for_all(payloads.size(), values, [&](std::size_t i) { statuses[i] = parts_->decode(payloads[i], grid, x.data() + i * values); });
    const auto bad = std::find_if(statuses.begin(), statuses.end(), [](Status status) { return status != Status::ok; });
    return bad == statuses.end() ? Status::ok : *bad;
}

bool TransformCoder::analyse(std::span<const float> x, const TransformGrid& grid, std::span<std::int32_t> components) const {
    const std::size_t values = parts_->values(grid), places = parts_->shape.places(), size = grid.blocks() * places;
    if (components.size() != x.size() / values * size) throw std::invalid_argument("a block has as many components as places");
    const TransformPlan plan(*parts_, kEveryComponent);
    std::atomic<bool> finite{true};
    for_all(x.size() / values, values, [&](std::size_t i) {
        const Rooms rooms(parts_->shape, grid.blocks());
        std::vector<TransformEscape> escapes;
        if (!parts_->sample_frequencies(plan, grid, x.data() + i * values, rooms, escapes)) {
            finite = false;
            return;
        }
        for_ranges<std::int32_t>(plan, grid.blocks(), [&](BlockRange range, std::int32_t* made) {
            forward_maps(*parts_, plan, grid.blocks(), rooms.values, range, made);
            for (std::size_t b = 0; b < range.count; ++b) {
                std::int32_t* const to = components.data() + i * size + (range.first + b) * places;
                for (std::size_t place = 0; place < places; ++place) to[place] = made[b * plan.size + plan.coded[place].at];
            }
        });
    });
    return finite;
}

void TransformCoder::synthesise(std::span<const std::int32_t> integers, const TransformGrid& grid, unsigned quality, std::span<float> x) const {
    if (quality > kMostQuality) throw std::invalid_argument("quality must be 0..100");
    const std::size_t values = parts_->values(grid), places = parts_->shape.places(), size = grid.blocks() * places;
    if (integers.size() % size != 0 || x.size() != integers.size() / size * values) throw std::invalid_argument("a sample has all blocks' integers");
    const auto plan = parts_->plan(quality);
    for_all(integers.size() / size, values, [&](std::size_t i) {
        parts_->make_sample(*plan, grid, x.data() + i * values, [&](BlockRange range, std::int16_t* components) {
            for (std::size_t b = 0; b < range.count; ++b) {
                const std::int32_t* const from = integers.data() + i * size + (range.first + b) * places;
                for (const CodedPlace& place : plan->coded) {
                    components[b * plan->size + place.at] = cell_middle(from[place.place], transform_step(place.level));
                }
            }
            return true;
        });
    });
}

void TransformCoder::tally(std::span<const std::int32_t> components, std::size_t blocks, unsigned quality, std::span<std::int64_t> counts) const {
    if (quality > kMostQuality) throw std::invalid_argument("quality must be 0..100");
    const std::size_t places = parts_->shape.places(), size = blocks * places;
    if (size == 0 ? !components.empty() : components.size() % size != 0) throw std::invalid_argument("a sample has all blocks' components");
    if (counts.size() != kTransformTables * kTransformEntries) throw std::invalid_argument("counts are of every table's entries");
    const auto plan = parts_->plan(quality);
    for (std::size_t first = 0; first < components.size(); first += size) {
        TransformDrift drift(*parts_);
        for (std::size_t b = 0; b < blocks; ++b) tally_block(*plan, drift, components.data() + first + b * places, counts.data());
    }
}

}  // namespace featcodec
