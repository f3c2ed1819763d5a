#include "transform_blocks.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

// Where column x of row y lies, for a map 0.
std::size_t place_of(const TransformShape& shape, const TransformGrid& grid, std::size_t y, std::size_t x, std::size_t stride) {
    const std::size_t block = y / shape.block_height * grid.across + x / shape.block_width;
    return (y % shape.block_height * shape.block_width + x % shape.block_width) * stride + block * shape.maps;
}

// v is continued by its last row and column.
void fill_edges(const TransformShape& shape, const TransformGrid& grid, std::size_t stride, std::int16_t* blocks) {
    const std::size_t height = grid.down * shape.block_height, width = grid.across * shape.block_width;
    for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = y < grid.height ? grid.width : 0; x < width; ++x) {
            const std::size_t from = place_of(shape, grid, std::min(y, grid.height - 1), std::min(x, grid.width - 1), stride);
            std::copy_n(blocks + from, shape.maps, blocks + place_of(shape, grid, y, x, stride));
        }
    }
}

struct Moved {
    float unit;
    // False where the value is an escape, and `to` then 0.
    bool operator()(float value, std::int16_t mean, std::int16_t& to) const {
        const float rounded = std::nearbyint(value * unit);
        const float moved = rounded - static_cast<float>(mean);  // exact where it counts
        const bool kept = std::abs(rounded) <= 32767.0f && std::abs(moved) <= static_cast<float>(kMostMoved);
        to = kept ? static_cast<std::int16_t>(moved) : std::int16_t{0};
        return kept;
    }
};

constexpr std::size_t kPositionsAtOnce = 1 << 13;

// Where some positions of a grid lie, in the order of its floats.
class Positions {
public:
    Positions(const TransformParts& parts, const TransformGrid& grid) : shape_(parts.shape), grid_(grid), stride_(block_stride(shape_, grid.blocks())) {
        thread_local Buffer<std::uint32_t> first, second;
        const std::size_t room = std::min(grid.height * grid.width, kPositionsAtOnce);
        at_ = first.get(room);
        mean_at_ = second.get(room);
    }

    // first, first + 1, ... of them
    void fill(std::size_t first, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count;) {
            const std::size_t y = (first + i) / grid_.width;
            std::size_t x = (first + i) % grid_.width, column = x % shape_.block_width;
            const std::size_t in_block = y % shape_.block_height * shape_.block_width;
            std::size_t block = y / shape_.block_height * grid_.across + x / shape_.block_width;
            for (; x < grid_.width && i < count; ++x, ++i) {
                at_[i] = static_cast<std::uint32_t>((in_block + column) * stride_ + block * shape_.maps);
                mean_at_[i] = static_cast<std::uint32_t>((in_block + column) * shape_.maps);
                if (++column < shape_.block_width) continue;
                column = 0;
                ++block;
            }
        }
    }
    const std::uint32_t* at() const noexcept { return at_; }
    const std::uint32_t* mean_at() const noexcept { return mean_at_; }

private:
    const TransformShape& shape_;
    const TransformGrid& grid_;
    std::size_t stride_;
    std::uint32_t* at_;
    std::uint32_t* mean_at_;
};

// tile(map, first, i) for tiles, rest(map, first, i) for the values that are in none: position first + i, which is the i-th that is filled in.
template <class Full, class Rest>
void for_tiles(std::size_t maps, std::size_t count, Positions& positions, bool tiles, const Full& tile, const Rest& rest) {
    const std::size_t whole_maps = tiles ? maps / kTileSide * kTileSide : 0;
    for (std::size_t first = 0; first < count; first += kPositionsAtOnce) {
        const std::size_t some = std::min(kPositionsAtOnce, count - first), whole = some / kTileSide * kTileSide;
        positions.fill(first, some);
        for (std::size_t map = 0; map < whole_maps; map += kTileSide) {
            for (std::size_t i = 0; i < whole; i += kTileSide) tile(map, first, i);
        }
        for (std::size_t map = 0; map < maps; ++map) {
            for (std::size_t i = map < whole_maps ? whole : 0; i < some; ++i) rest(map, first, i);
        }
    }
}

}  // namespace

std::size_t block_stride(const TransformShape& shape, std::size_t blocks) noexcept { return rounded_up(blocks * shape.maps, kLaneAlign); }

std::size_t block_room(const TransformShape& shape, std::size_t blocks) noexcept {
    return shape.block_height * shape.block_width * block_stride(shape, blocks) + kLaneAlign;
}

bool floats_to_blocks(const TransformParts& parts, const TransformGrid& grid, const float* x, std::int16_t* blocks,
                      std::vector<TransformEscape>& escapes) {
    const TransformKernels& kernels = current_kernels().transform;
    const std::size_t count = grid.height * grid.width;
    const Moved moved{std::ldexp(1.0f, parts.scale)};
    Positions positions(parts, grid);
    bool finite = true;
    const auto one = [&](std::size_t map, std::size_t first, std::size_t i) {
        const std::size_t position = map * count + first + i;
        if (moved(x[position], parts.mean[positions.mean_at()[i] + map], blocks[positions.at()[i] + map])) return;
        finite = finite && std::isfinite(x[position]);
        escapes.push_back({static_cast<std::uint32_t>(position), x[position]});
    };
    const auto tile = [&](std::size_t map, std::size_t first, std::size_t i) {
        const float* const from = x + map * count + first + i;
        if (kernels.tile_in({positions.at() + i, positions.mean_at() + i, parts.mean.data() + map, moved.unit, from, nullptr, count, blocks + map})) return;
        for (std::size_t m = map; m < map + kTileSide; ++m) {
            for (std::size_t p = i; p < i + kTileSide; ++p) one(m, first, p);
        }
    };
    for_tiles(parts.shape.maps, count, positions, kernels.tile_in != nullptr, tile, one);
    std::sort(escapes.begin(), escapes.end(), [](const TransformEscape& a, const TransformEscape& b) { return a.position < b.position; });
    fill_edges(parts.shape, grid, block_stride(parts.shape, grid.blocks()), blocks);
    return finite;
}

void blocks_to_floats(const TransformParts& parts, const TransformGrid& grid, std::int16_t* blocks, float* x) {
    const TransformKernels& kernels = current_kernels().transform;
    const std::size_t count = grid.height * grid.width;
    const float unit = std::ldexp(1.0f, -parts.scale);
    Positions positions(parts, grid);
    const auto one = [&](std::size_t map, std::size_t first, std::size_t i) {
        const int value = blocks[positions.at()[i] + map] + parts.mean[positions.mean_at()[i] + map];
        x[map * count + first + i] = static_cast<float>(value) * unit;
    };
    const auto tile = [&](std::size_t map, std::size_t first, std::size_t i) {
        float* const to = x + map * count + first + i;
        kernels.tile_out({positions.at() + i, positions.mean_at() + i, parts.mean.data() + map, unit, nullptr, to, count, blocks + map});
    };
    for_tiles(parts.shape.maps, count, positions, kernels.tile_out != nullptr, tile, one);
}

}  // namespace featcodec
