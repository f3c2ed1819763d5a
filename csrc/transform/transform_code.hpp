// Components to the integers of their cells and the code of these, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "arithmetic.hpp"
#include "transform_plan.hpp"

namespace featcodec {

// Codes blocks one after the other, into memory of its own that grows with what they take.
class TransformCode {
public:
    TransformCode(const TransformParts& parts, const TransformPlan& plan);
    // components: plan.size of them.
    void put_block(const std::int32_t* components);
    // Once, after all blocks; the bytes are this object's.
    std::span<const std::uint8_t> finish() noexcept;

private:
    void make_room(std::size_t more);

    const TransformParts& parts_;
    const TransformPlan& plan_;
    std::size_t size_;
    std::unique_ptr<std::uint8_t[]> bytes_;
    ArithmeticEncoder encoder_;
};

// Reads a block: sets the components that the plan has coded, of plan.size. False where no encoder writes this.
bool get_block(const TransformParts& parts, const TransformPlan& plan, ArithmeticDecoder& decoder, std::int16_t* components) noexcept;

// The middle of a cell, as what the inverse matrices take.
std::int16_t cell_middle(std::int64_t integer, std::int64_t step) noexcept;

}  // namespace featcodec
