// Features to payloads by a transform in integers, and back. Normative: docs/transform.md; tests/transform_reference.py has it in NumPy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "featcodec.hpp"

namespace featcodec {

inline constexpr unsigned kMostQuality = 100;
inline constexpr std::size_t kTransformTables = 33;
inline constexpr std::size_t kTransformEntries = 16;   // magnitudes 0..14, and one for what is larger
inline constexpr std::int64_t kMostMoved = 8191;       // of a value less its mean; others are escapes
inline constexpr std::size_t kMostGrid = 1 << 26;      // values of a sample, its blocks filled up

struct TransformShape {
    std::size_t maps = 1;
    std::size_t block_height = 1;
    std::size_t block_width = 1;
    std::size_t group = 1;      // maps that are transformed together
    std::size_t zones = 1;      // of the block's frequencies, a matrix each
    std::size_t joint = 0;

    std::size_t frequencies() const noexcept { return block_height * block_width; }
    std::size_t places() const noexcept { return frequencies() * maps; }
};

// The arrays of docs/transform.md, "State".
struct TransformState {
    std::int32_t scale = 0;
    std::span<const std::int16_t> mean;
    std::span<const std::int16_t> zone;
    std::span<const std::int16_t> analysis;
    std::span<const std::uint8_t> analysis_shift;
    std::span<const std::int16_t> synthesis;
    std::span<const std::uint8_t> synthesis_shift;
    std::span<const std::int32_t> chosen;
    std::span<const std::int16_t> joint_analysis;
    std::span<const std::uint8_t> joint_analysis_shift;
    std::span<const std::int16_t> joint_synthesis;
    std::span<const std::uint8_t> joint_synthesis_shift;
    std::span<const std::uint8_t> offset;
    std::span<const std::uint8_t> scale_class;
    std::span<const std::int32_t> tables;
    std::span<const std::int16_t> drift;
};

// What is out of its range, as a clause; nullptr where nothing is. std::invalid_argument where an array has another size than the shape
// says, or the shape is none.
const char* transform_problem(const TransformShape& shape, const TransformState& state);

// A sample's maps in blocks, its edges filled up.
struct TransformGrid {
    std::size_t height = 1;
    std::size_t width = 1;
    std::size_t down = 1;    // blocks
    std::size_t across = 1;

    std::size_t blocks() const noexcept { return down * across; }
};
// std::invalid_argument where the grid is empty, or larger than kMostGrid.
TransformGrid transform_grid(const TransformShape& shape, std::size_t height, std::size_t width);

struct TransformEncoded {
    std::vector<std::vector<std::uint8_t>> payloads;
    bool finite = true;  // else the payloads mean nothing
};

// Of one state, which it copies; read-only, for any number of threads. Samples of a batch are shared out to the core's threads.
class TransformCoder {
public:
    // std::invalid_argument as transform_problem, and where that has one.
    TransformCoder(const TransformShape& shape, const TransformState& state);
    ~TransformCoder();

    const TransformShape& shape() const noexcept;
    // x: samples of maps x height x width. quality: 0..kMostQuality, else std::invalid_argument.
    TransformEncoded encode(std::span<const float> x, const TransformGrid& grid, unsigned quality) const;
    // x: a sample for every payload. Memory beside it: a few times one sample's, and no more whatever a payload claims. The status of
    // the first payload that does not decode: truncated, bad_mode (quality), bad_range (an escape), bad_code, trailing.
    Status decode(std::span<const std::span<const std::uint8_t>> payloads, const TransformGrid& grid, std::span<float> x) const;
    // All components before they are quantised: samples x blocks x places.
    bool analyse(std::span<const float> x, const TransformGrid& grid, std::span<std::int32_t> components) const;
    // What decode makes of such integers, those that the quality leaves out taken for zero.
    void synthesise(std::span<const std::int32_t> integers, const TransformGrid& grid, unsigned quality, std::span<float> x) const;
    // How often each entry of each table codes such components, [table][entry], added to counts.
    void tally(std::span<const std::int32_t> components, std::size_t blocks, unsigned quality, std::span<std::int64_t> counts) const;

private:
    struct Parts;
    std::unique_ptr<const Parts> parts_;
};

}  // namespace featcodec
