// The transform between blocks and components, both ways, some blocks at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transform_plan.hpp"

namespace featcodec {

// Blocks whose components lie in memory together: first, first + 1, ...
struct BlockRange {
    std::size_t first;
    std::size_t count;
};

// So many that their components stay in a cache.
std::size_t blocks_at_once(const TransformPlan& plan) noexcept;

// Cosine transform of all blocks, [y][x][block][map] to [row frequency][column frequency][block][map] of those that the plan computes;
// `room` is as large as `blocks`, which are lost. The frequencies are in `blocks` afterwards.
void forward_cosine(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* values, std::int16_t* room);
void inverse_cosine(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* values, std::int16_t* room);

// From frequencies to components: [block of the range][plan.size].
void forward_maps(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, const std::int16_t* frequencies, BlockRange range,
                  std::int32_t* components);
// Components are zero where they are not coded.
void inverse_maps(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* components, BlockRange range,
                  std::int16_t* frequencies);

}  // namespace featcodec
