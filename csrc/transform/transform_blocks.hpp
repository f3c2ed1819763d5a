// Between a sample's floats and integers of 16 bits less their mean, in blocks: [y in block][x in block][block][map].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "transform_plan.hpp"

namespace featcodec {

// Numbers from one position in a block to the next: of so many blocks' maps.
std::size_t block_stride(const TransformShape& shape, std::size_t blocks) noexcept;
// Numbers of all positions, and some that vectors may read or write beyond them.
std::size_t block_room(const TransformShape& shape, std::size_t blocks) noexcept;

// A value that is sent as it is.
struct TransformEscape {
    std::uint32_t position;
    float value;
};

// False where a value is not finite. Escapes are added in order.
bool floats_to_blocks(const TransformParts& parts, const TransformGrid& grid, const float* x, std::int16_t* blocks,
                      std::vector<TransformEscape>& escapes);
void blocks_to_floats(const TransformParts& parts, const TransformGrid& grid, std::int16_t* blocks, float* x);

}  // namespace featcodec
