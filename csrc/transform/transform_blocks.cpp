#include "transform_blocks.hpp"

#include <algorithm>
#include <cmath>

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

}  // namespace

std::size_t block_stride(const TransformShape& shape, std::size_t blocks) noexcept { return rounded_up(blocks * shape.maps, kLaneAlign); }

std::size_t block_room(const TransformShape& shape, std::size_t blocks) noexcept {
    return shape.block_height * shape.block_width * block_stride(shape, blocks) + kLaneAlign;
}

bool floats_to_blocks(const TransformParts& parts, const TransformGrid& grid, const float* x, std::int16_t* blocks,
                      std::vector<TransformEscape>& escapes) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, grid.blocks());
    const Moved moved{std::ldexp(1.0f, parts.scale)};
    std::uint32_t position = 0;
    for (std::size_t map = 0; map < shape.maps; ++map) {
        for (std::size_t row = 0; row < grid.height; ++row) {
            for (std::size_t column = 0; column < grid.width; ++column, ++position) {
                const std::size_t in_block = row % shape.block_height * shape.block_width + column % shape.block_width;
                std::int16_t& to = blocks[place_of(shape, grid, row, column, stride) + map];
                if (moved(x[position], parts.mean[in_block * shape.maps + map], to)) continue;
                if (!std::isfinite(x[position])) return false;
                escapes.push_back({position, x[position]});
            }
        }
    }
    fill_edges(shape, grid, stride, blocks);
    return true;
}

void blocks_to_floats(const TransformParts& parts, const TransformGrid& grid, const std::int16_t* blocks, float* x) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, grid.blocks());
    const float unit = std::ldexp(1.0f, -parts.scale);
    for (std::size_t map = 0; map < shape.maps; ++map) {
        for (std::size_t row = 0; row < grid.height; ++row) {
            for (std::size_t column = 0; column < grid.width; ++column) {
                const std::size_t in_block = row % shape.block_height * shape.block_width + column % shape.block_width;
                const int value = blocks[place_of(shape, grid, row, column, stride) + map] + parts.mean[in_block * shape.maps + map];
                *x++ = static_cast<float>(value) * unit;
            }
        }
    }
}

}  // namespace featcodec
