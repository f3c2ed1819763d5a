// Components to the integers of their cells and the code of these, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "arithmetic.hpp"
#include "transform_plan.hpp"

namespace featcodec {

// How much larger or smaller a sample's components come than their scale classes say: what was coded tells, on both sides alike.
class TransformDrift {
public:
    struct Scale {
        std::uint8_t table;
        std::uint8_t low_bits;  // sent raw
    };
    explicit TransformDrift(const TransformParts& parts) noexcept : tables_(parts.tables.data()) {}

    // How the next component is coded.
    Scale scale(int relative) const noexcept;
    const TransformTable& table(Scale scale) const noexcept { return tables_[scale.table]; }
    void move(Scale scale, std::size_t entry) noexcept;

private:
    const TransformTable* tables_;
    std::int32_t moved_ = 0;  // in 256ths of a class
};

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

    const TransformPlan& plan_;
    std::size_t size_;
    std::unique_ptr<std::uint8_t[]> bytes_;
    TransformDrift drift_;
    ArithmeticEncoder encoder_;
};

// Reads a sample's next block: sets the components that the plan has coded, of plan.size. False where no encoder writes this.
bool get_block(const TransformPlan& plan, TransformDrift& drift, ArithmeticDecoder& decoder, std::int16_t* components) noexcept;

// Counts the entries that code a sample's next block, of components by their places.
void tally_block(const TransformPlan& plan, TransformDrift& drift, const std::int32_t* components, std::int64_t* counts) noexcept;

// The middle of a cell, as what the inverse matrices take.
std::int16_t cell_middle(std::int64_t integer, std::int64_t step) noexcept;

}  // namespace featcodec
