#include "transform_plan.hpp"

#include <algorithm>
#include <numeric>

namespace featcodec {
namespace {

constexpr int kFinestLevel = 156;  // of quality 0

unsigned level_of(const TransformParts& parts, std::size_t place, unsigned quality) {
    return std::min(static_cast<unsigned>(kFinestLevel) - quality + parts.offset[place], kMostLevel);
}

// The lowest quality at which the level, which falls as they rise, is not too coarse.
std::uint8_t quality_needed(const TransformParts& parts, std::size_t place) {
    const int coarsest = parts.scale_class[place] - kLeastRelative;
    if (coarsest >= static_cast<int>(kMostLevel)) return 0;
    return static_cast<std::uint8_t>(std::clamp(kFinestLevel + parts.offset[place] - coarsest, 0, static_cast<int>(kEveryComponent)));
}

// Ranks by the quality that each component needs.
template <class Needed>
std::vector<std::uint32_t> ordered(std::size_t count, const Needed& needed) {
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return needed(a) < needed(b); });
    return order;
}

// The lowest quality at which any frequency of a zone needs a component: [zones][maps].
std::vector<std::uint8_t> needed_by_zones(const TransformParts& parts) {
    std::vector<std::uint8_t> least(parts.shape.zones * parts.shape.maps, kEveryComponent);
    for (std::size_t i = 0; i < parts.computed.size(); ++i) {
        std::uint8_t& known = least[parts.zone[i / parts.shape.maps] * parts.shape.maps + i % parts.shape.maps];
        known = std::min(known, parts.computed[i]);
    }
    return least;
}

void load_groups(TransformParts& parts, const TransformState& state) {
    const std::size_t group = parts.shape.group;
    const auto needed = needed_by_zones(parts);
    for (std::size_t i = 0; i < parts.shape.zones * parts.groups(); ++i) {
        const std::size_t row = i * group;
        TransformGroup& made = parts.matrices.emplace_back();
        made.order = ordered(group, [&](std::uint32_t k) { return needed[row + k]; });
        made.forward = {state.analysis.data() + row * group, state.analysis_shift.data() + row, made.order, PackedMatrix::Ordered::rows};
        made.inverse = {state.synthesis.data() + row * group, state.synthesis_shift.data() + row, made.order, PackedMatrix::Ordered::columns};
    }
}

void load_joint(TransformParts& parts, const TransformState& state) {
    TransformGroup& joint = parts.joint;
    joint.order = ordered(parts.chosen.size(), [&](std::uint32_t j) { return parts.needed[parts.chosen[j]]; });
    joint.forward = {state.joint_analysis.data(), state.joint_analysis_shift.data(), joint.order, PackedMatrix::Ordered::rows};
    joint.inverse = {state.joint_synthesis.data(), state.joint_synthesis_shift.data(), joint.order, PackedMatrix::Ordered::columns};
}

void load_needs(TransformParts& parts) {
    parts.needed.resize(parts.shape.places());
    for (std::size_t i = 0; i < parts.needed.size(); ++i) parts.needed[i] = quality_needed(parts, i);
    parts.computed = parts.needed;
    std::uint8_t least = kEveryComponent;
    for (const std::uint32_t place : parts.chosen) least = std::min(least, parts.needed[place]);
    for (const std::uint32_t place : parts.chosen) parts.computed[place] = least;
}

void load_tables(TransformParts& parts, const TransformState& state) {
    parts.tables.resize(kTransformTables);
    for (std::size_t i = 0; i < state.tables.size(); ++i) {
        TransformTable& table = parts.tables[i / kTransformEntries];
        const std::size_t entry = i % kTransformEntries;
        if (entry == 0) table.starts[0] = 0;
        table.starts[entry + 1] = table.starts[entry] + static_cast<std::uint32_t>(state.tables[i]);
        table.drift[entry] = state.drift[i];
    }
}

CodedPlace coded_place(const TransformParts& parts, std::size_t place, std::uint32_t at, unsigned quality) {
    const unsigned level = level_of(parts, place, quality);
    const int relative = parts.scale_class[place] - static_cast<int>(level);
    return {static_cast<std::uint32_t>(place), at, static_cast<std::uint8_t>(level), static_cast<std::int16_t>(relative)};
}

}  // namespace

std::int64_t transform_step(unsigned level) noexcept {
    constexpr std::int64_t kEighths[] = {65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194};
    return (kEighths[level % 8] * (std::int64_t{1} << level / 8) + (1 << 15)) >> 16;
}

TransformParts::TransformParts(const TransformShape& of, const TransformState& state)
    : shape(of),
      scale(state.scale),
      mean(state.mean.size()),
      zone(state.zone.begin(), state.zone.end()),
      chosen(state.chosen.begin(), state.chosen.end()),
      offset(state.offset.begin(), state.offset.end()),
      scale_class(state.scale_class.begin(), state.scale_class.end()),
      rows(of.block_width),
      columns(of.block_height),
      shifts(dct_shifts(rows, columns, kMostMoved)) {
    const std::size_t positions = of.block_height * of.block_width;
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i % positions * of.maps + i / positions] = state.mean[i];
    load_needs(*this);
    load_groups(*this, state);
    load_joint(*this, state);
    load_tables(*this, state);
}

TransformPlan::TransformPlan(const TransformParts& parts, unsigned quality) {
    const TransformShape& shape = parts.shape;
    const bool all = quality == kEveryComponent;
    std::vector<std::uint32_t> at_place(shape.places());
    for (std::size_t i = 0; i < shape.places() / shape.group; ++i) {
        const std::size_t frequency = i / parts.groups(), place = i * shape.group;
        const auto& order = parts.group_at(frequency, i % parts.groups()).order;
        std::uint32_t rows = 0;
        for (std::uint32_t rank = 0; rank < shape.group; ++rank) {
            at_place[place + order[rank]] = static_cast<std::uint32_t>(size) + rank;
            if (all || parts.computed[place + order[rank]] <= quality) rows = rank + 1;
        }
        runs.push_back({static_cast<std::uint32_t>(size), rows});
        size += rounded_up(rows, kPanelRows);
        if (rows == 0) continue;
        frequency_rows = std::max(frequency_rows, frequency / shape.block_width + 1);
        frequency_columns = std::max(frequency_columns, frequency % shape.block_width + 1);
    }
    for (std::size_t i = 0; i < shape.places(); ++i) {
        if (all) coded.push_back({static_cast<std::uint32_t>(i), at_place[i], 0, 0});
        else if (parts.needed[i] <= quality) coded.push_back(coded_place(parts, i, at_place[i], quality));
    }
    while (joint_rows < parts.chosen.size() && (all || parts.needed[parts.chosen[parts.joint.order[joint_rows]]] <= quality)) ++joint_rows;
    if (joint_rows == 0) return;
    for (const std::uint32_t place : parts.chosen) joint_at.push_back(at_place[place]);
}

}  // namespace featcodec
