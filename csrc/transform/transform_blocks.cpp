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

// Where the positions of a grid lie, in the order of its floats.
struct Positions {
    Positions(const TransformParts& parts, const TransformGrid& grid) {
        thread_local Buffer<std::uint32_t> first, second;
        const TransformShape& shape = parts.shape;
        const std::size_t stride = block_stride(shape, grid.blocks());
        count = grid.height * grid.width;
        std::uint32_t* const to = first.get(count);
        std::uint32_t* const mean = second.get(count);
        for (std::size_t y = 0, i = 0; y < grid.height; ++y) {
            for (std::size_t x = 0; x < grid.width; ++x, ++i) {
                to[i] = static_cast<std::uint32_t>(place_of(shape, grid, y, x, stride));
                mean[i] = static_cast<std::uint32_t>((y % shape.block_height * shape.block_width + x % shape.block_width) * shape.maps);
            }
        }
        at = to;
        mean_at = mean;
    }
    const std::uint32_t* at;
    const std::uint32_t* mean_at;
    std::size_t count;
};

// full(map, position) for tiles, rest(map, position) for the values that are in none, map by map.
template <class Full, class Rest>
void for_tiles(std::size_t maps, std::size_t positions, bool tiles, const Full& full, const Rest& rest) {
    const std::size_t whole_maps = tiles ? maps / kTileSide * kTileSide : 0, whole_positions = positions / kTileSide * kTileSide;
    for (std::size_t map = 0; map < whole_maps; map += kTileSide) {
        for (std::size_t position = 0; position < whole_positions; position += kTileSide) full(map, position);
    }
    for (std::size_t map = 0; map < maps; ++map) {
        for (std::size_t position = map < whole_maps ? whole_positions : 0; position < positions; ++position) rest(map, position);
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
    const Positions positions(parts, grid);
    const Moved moved{std::ldexp(1.0f, parts.scale)};
    bool finite = true;
    const auto one = [&](std::size_t map, std::size_t position) {
        const std::size_t i = map * positions.count + position;
        if (moved(x[i], parts.mean[positions.mean_at[position] + map], blocks[positions.at[position] + map])) return;
        finite = finite && std::isfinite(x[i]);
        escapes.push_back({static_cast<std::uint32_t>(i), x[i]});
    };
    const auto tile = [&](std::size_t map, std::size_t position) {
        const Tile of{positions.at + position, positions.mean_at + position, parts.mean.data() + map, moved.unit,
                      x + map * positions.count + position, nullptr, positions.count, blocks + map};
        if (kernels.tile_in(of)) return;
        for (std::size_t m = map; m < map + kTileSide; ++m) {
            for (std::size_t p = position; p < position + kTileSide; ++p) one(m, p);
        }
    };
    for_tiles(parts.shape.maps, positions.count, kernels.tile_in != nullptr, tile, one);
    std::sort(escapes.begin(), escapes.end(), [](const TransformEscape& a, const TransformEscape& b) { return a.position < b.position; });
    fill_edges(parts.shape, grid, block_stride(parts.shape, grid.blocks()), blocks);
    return finite;
}

void blocks_to_floats(const TransformParts& parts, const TransformGrid& grid, std::int16_t* blocks, float* x) {
    const TransformKernels& kernels = current_kernels().transform;
    const Positions positions(parts, grid);
    const float unit = std::ldexp(1.0f, -parts.scale);
    const auto one = [&](std::size_t map, std::size_t position) {
        const int value = blocks[positions.at[position] + map] + parts.mean[positions.mean_at[position] + map];
        x[map * positions.count + position] = static_cast<float>(value) * unit;
    };
    const auto tile = [&](std::size_t map, std::size_t position) {
        kernels.tile_out({positions.at + position, positions.mean_at + position, parts.mean.data() + map, unit, nullptr,
                          x + map * positions.count + position, positions.count, blocks + map});
    };
    for_tiles(parts.shape.maps, positions.count, kernels.tile_out != nullptr, tile, one);
}

}  // namespace featcodec
