// What of a transform a quality needs: which rows are multiplied, where their results lie, and by which tables they are coded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dct.hpp"
#include "matrix.hpp"
#include "transform.hpp"

namespace featcodec {

inline constexpr unsigned kEveryComponent = kMostQuality + 1;  // a plan's quality with which all are computed

// Frequencies summed up, and what each entry moves the scale by.
struct TransformTable {
    std::array<std::uint32_t, kTransformEntries + 1> starts;
    std::array<std::int16_t, kTransformEntries> drift;
};

// Maps that are transformed together, at a frequency or at all: their components in the order in which rising qualities need them.
struct TransformGroup {
    PackedMatrix forward, inverse;
    std::vector<std::uint32_t> order;  // rank -> component of the group
};

// The state, ready for the kernels.
struct TransformParts {
    TransformParts(const TransformShape& shape, const TransformState& state);

    std::size_t groups() const noexcept { return shape.maps / shape.group; }
    const TransformGroup& group_at(std::size_t frequency, std::size_t group) const noexcept {
        return matrices[zone[frequency] * groups() + group];
    }

    TransformShape shape;
    std::int32_t scale;
    std::vector<std::int16_t> mean;        // [y in block][x in block][map]
    std::vector<std::uint16_t> zone;       // [frequencies]
    std::vector<TransformGroup> matrices;  // [zones][groups]
    TransformGroup joint;
    std::vector<std::uint32_t> chosen;     // places
    std::vector<std::uint8_t> offset, scale_class;
    std::vector<std::uint8_t> needed;      // [places]: the lowest quality at which one is coded
    std::vector<std::uint8_t> computed;    // [places]: or at which the joint stage needs it
    std::vector<TransformTable> tables;
    Dct rows, columns;
    DctShifts shifts;
};

struct CodedPlace {
    std::uint32_t place;
    std::uint32_t at;        // in a block's components, as a plan has them
    std::uint8_t level;      // of its step
    std::int16_t relative;   // its scale class less the level
};

// Components of a block as they lie in memory: for each frequency and group its first ranks, up to a multiple of kPanelRows.
struct TransformPlan {
    TransformPlan(const TransformParts& parts, unsigned quality);

    struct Run {
        std::uint32_t first;  // of a block's components
        std::uint32_t rows;   // ranks that are computed
    };

    std::size_t frequency_rows = 0;     // row frequencies that are computed, the lowest,
    std::size_t frequency_columns = 0;  // and column frequencies
    std::size_t size = 0;               // numbers of a block
    std::vector<Run> runs;              // [places / group]: frequencies, and in each its groups
    std::vector<CodedPlace> coded;      // rising places
    std::vector<std::uint32_t> joint_at;   // where the chosen places lie; empty where none is coded
    std::size_t joint_rows = 0;            // ranks of the joint stage that are coded
};

// STEP[level] of docs/transform.md.
std::int64_t transform_step(unsigned level) noexcept;
inline constexpr unsigned kMostLevel = 208;
inline constexpr int kLeastRelative = -16;  // a component's scale class less its level, below which it is not coded

}  // namespace featcodec
