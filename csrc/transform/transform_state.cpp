// What a state may hold.
#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "matrix.hpp"
#include "transform.hpp"
#include "transform_plan.hpp"

namespace featcodec {
namespace {

constexpr int kMostScale = 100;
constexpr int kMostMean = 24576;
constexpr unsigned kMostOffset = 96;
constexpr std::int64_t kTotal = std::int64_t{1} << 16;

void check_shape(const TransformShape& shape) {
    for (const std::size_t side : {shape.block_height, shape.block_width}) {
        if (side == 0 || side > kMostDct) throw std::invalid_argument("a block has sides of 1 to 32");
    }
    const std::size_t positions = shape.block_height * shape.block_width;
    if (shape.maps == 0 || shape.maps > kMostGrid / positions) throw std::invalid_argument("a block has 1 to 2^26 values");
    if (shape.group == 0 || shape.maps % shape.group != 0) throw std::invalid_argument("maps must be a multiple of group");
    if (shape.zones == 0 || shape.zones > positions) throw std::invalid_argument("a block has as many zones as frequencies at most");
    if (shape.joint > shape.places()) throw std::invalid_argument("joint must be at most the values of a block");
}

void check_sizes(const TransformShape& shape, const TransformState& state) {
    const std::size_t rows = shape.zones * shape.maps, places = shape.places(), joint = shape.joint;
    const std::pair<std::size_t, std::size_t> sizes[] = {
        {state.mean.size(), places},
        {state.zone.size(), shape.frequencies()},
        {state.analysis.size(), rows * shape.group},
        {state.analysis_shift.size(), rows},
        {state.synthesis.size(), rows * shape.group},
        {state.synthesis_shift.size(), rows},
        {state.chosen.size(), joint},
        {state.joint_analysis.size(), joint * joint},
        {state.joint_analysis_shift.size(), joint},
        {state.joint_synthesis.size(), joint * joint},
        {state.joint_synthesis_shift.size(), joint},
        {state.offset.size(), places},
        {state.scale_class.size(), places},
        {state.tables.size(), kTransformTables * kTransformEntries},
        {state.drift.size(), kTransformTables * kTransformEntries},
    };
    for (const auto& [size, wanted] : sizes) {
        if (size != wanted) throw std::invalid_argument("the state's arrays are of another shape");
    }
}

bool matrix_fits(std::span<const std::int16_t> numbers, std::span<const std::uint8_t> shifts, std::size_t columns) {
    for (std::size_t row = 0; row < shifts.size(); ++row) {
        if (!row_fits(numbers.subspan(row * columns, columns), shifts[row])) return false;
    }
    return true;
}

bool chosen_fit(std::span<const std::int32_t> chosen, std::size_t places) {
    std::int64_t before = -1;
    for (const std::int32_t place : chosen) {
        if (place <= before || static_cast<std::size_t>(place) >= places) return false;
        before = place;
    }
    return true;
}

bool tables_fit(std::span<const std::int32_t> tables) {
    for (std::size_t first = 0; first < tables.size(); first += kTransformEntries) {
        std::int64_t sum = 0;
        for (const std::int32_t frequency : tables.subspan(first, kTransformEntries)) {
            if (frequency < 1) return false;
            sum += frequency;
        }
        if (sum != kTotal) return false;
    }
    return true;
}

}  // namespace

const char* transform_problem(const TransformShape& shape, const TransformState& state) {
    check_shape(shape);
    check_sizes(shape, state);
    if (std::abs(std::int64_t{state.scale}) > kMostScale) return "scale must be -100..100";
    if (!std::all_of(state.mean.begin(), state.mean.end(), [](int mean) { return std::abs(mean) <= kMostMean; })) return "mean must be -24576..24576";
    if (!std::all_of(state.zone.begin(), state.zone.end(), [&](int zone) { return zone >= 0 && static_cast<std::size_t>(zone) < shape.zones; })) {
        return "zone must be one of the matrices' numbers for each frequency";
    }
    if (!matrix_fits(state.analysis, state.analysis_shift, shape.group)) return "analysis must have rows whose absolutes sum to at most 61440, and shifts 0..24";
    if (!matrix_fits(state.synthesis, state.synthesis_shift, shape.group)) return "synthesis must have rows whose absolutes sum to at most 61440, and shifts 0..24";
    if (!matrix_fits(state.joint_analysis, state.joint_analysis_shift, shape.joint) ||
        !matrix_fits(state.joint_synthesis, state.joint_synthesis_shift, shape.joint)) {
        return "joint matrices must have rows whose absolutes sum to at most 61440, and shifts 0..24";
    }
    if (!chosen_fit(state.chosen, shape.places())) return "chosen must be places of a block, rising";
    if (!std::all_of(state.offset.begin(), state.offset.end(), [](unsigned offset) { return offset <= kMostOffset; })) return "offset must be 0..96";
    if (!tables_fit(state.tables)) return "tables must have rows of frequencies of at least 1 that sum to 65536";
    return nullptr;
}

}  // namespace featcodec
