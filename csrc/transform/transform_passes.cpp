#include "transform_passes.hpp"

#include <algorithm>

#include "kernels.hpp"
#include "scratch.hpp"
#include "transform_blocks.hpp"

namespace featcodec {
namespace {

constexpr unsigned kJointShift = 7;  // between components and the joint stage's integers of 16 bits
constexpr std::size_t kNumbersAtOnce = 1 << 17;

std::int16_t joint_input(std::int32_t component) {
    const std::int64_t rounded = (std::int64_t{component} + (1 << (kJointShift - 1))) >> kJointShift;
    return static_cast<std::int16_t>(std::clamp<std::int64_t>(rounded, INT16_MIN, INT16_MAX));
}

// Numbers of a vector of the joint stage: an even number, and panels of results.
std::size_t joint_stride(const TransformPlan& plan) { return rounded_up(plan.joint_at.size(), kPanelRows); }

void forward_joint(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int32_t* components) {
    thread_local Buffer<std::int16_t> inputs;
    thread_local Buffer<std::int32_t> results;
    const std::size_t size = plan.joint_at.size(), stride = joint_stride(plan);
    std::int16_t* const in = inputs.get(blocks * stride);
    std::int32_t* const out = results.get(blocks * stride);
    for (std::size_t b = 0; b < blocks; ++b) {
        for (std::size_t j = 0; j < size; ++j) in[b * stride + j] = joint_input(components[b * plan.size + plan.joint_at[j]]);
        std::fill(in + b * stride + size, in + (b + 1) * stride, std::int16_t{0});
    }
    current_kernels().transform.multiply32(parts.joint.forward.view(plan.joint_rows, size), {in, stride, blocks}, out, stride);
    for (std::size_t b = 0; b < blocks; ++b) {
        for (std::size_t rank = 0; rank < plan.joint_rows; ++rank) {
            components[b * plan.size + plan.joint_at[parts.joint.order[rank]]] = out[b * stride + rank];
        }
    }
}

void inverse_joint(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* components) {
    thread_local Buffer<std::int16_t> inputs, results;
    const std::size_t size = plan.joint_at.size(), stride = joint_stride(plan);
    std::int16_t* const in = inputs.get(blocks * stride);
    std::int16_t* const out = results.get(blocks * stride);
    for (std::size_t b = 0; b < blocks; ++b) {
        std::fill_n(in + b * stride, stride, std::int16_t{0});
        for (std::size_t rank = 0; rank < plan.joint_rows; ++rank) {
            in[b * stride + rank] = components[b * plan.size + plan.joint_at[parts.joint.order[rank]]];
        }
    }
    current_kernels().transform.multiply16(parts.joint.inverse.view(size, plan.joint_rows), {in, stride, blocks}, out, stride);
    for (std::size_t b = 0; b < blocks; ++b) {
        for (std::size_t j = 0; j < size; ++j) components[b * plan.size + plan.joint_at[j]] = out[b * stride + j];
    }
}

// Frequency i / groups of those that the plan has at that group's maps; null where it has none.
std::size_t frequency_place(const TransformShape& shape, const TransformPlan& plan, std::size_t frequency, std::size_t stride) {
    return (frequency / shape.block_width * plan.frequency_columns + frequency % shape.block_width) * stride;
}

bool is_computed(const TransformShape& shape, const TransformPlan& plan, std::size_t frequency) {
    return frequency / shape.block_width < plan.frequency_rows && frequency % shape.block_width < plan.frequency_columns;
}

// Into vectors that lie as near as their length, whatever a kernel writes beyond it.
void multiply_exactly(const Panels& matrix, const InVectors& in, std::size_t rows, std::int16_t* out, std::size_t out_stride) {
    if (rows % kPanelRows == 0) return current_kernels().transform.multiply16(matrix, in, out, out_stride);
    thread_local Buffer<std::int16_t> results;
    const std::size_t stride = matrix.panels * kPanelRows;
    std::int16_t* const made = results.get(in.count * stride);
    current_kernels().transform.multiply16(matrix, in, made, stride);
    for (std::size_t v = 0; v < in.count; ++v) std::copy_n(made + v * stride, rows, out + v * out_stride);
}

}  // namespace

std::size_t blocks_at_once(const TransformPlan& plan) noexcept {
    return std::max<std::size_t>(1, kNumbersAtOnce / std::max<std::size_t>(1, plan.size));
}

void forward_cosine(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* values, std::int16_t* room) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, blocks), row = plan.frequency_columns * stride;
    const TransformKernels& kernels = current_kernels().transform;
    for (std::size_t y = 0; y < shape.block_height; ++y) {
        kernels.combine(parts.rows.forward(plan.frequency_columns, parts.shifts.rows), values + y * shape.block_width * stride, stride, stride,
                        room + y * row, stride);
    }
    kernels.combine(parts.columns.forward(plan.frequency_rows, parts.shifts.columns), room, row, row, values, row);
}

void inverse_cosine(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* values, std::int16_t* room) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, blocks), row = plan.frequency_columns * stride;
    const TransformKernels& kernels = current_kernels().transform;
    const unsigned twice = 2 * kDctPrecision;
    kernels.combine(parts.columns.inverse(plan.frequency_rows, twice - parts.shifts.columns), values, row, row, room, row);
    for (std::size_t y = 0; y < shape.block_height; ++y) {
        kernels.combine(parts.rows.inverse(plan.frequency_columns, twice - parts.shifts.rows), room + y * row, stride, stride,
                        values + y * shape.block_width * stride, stride);
    }
}

void forward_maps(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, const std::int16_t* frequencies, BlockRange range,
                  std::int32_t* components) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, blocks);
    for (std::size_t i = 0; i < plan.runs.size(); ++i) {
        const auto [first, rows] = plan.runs[i];
        if (rows == 0) continue;
        const std::size_t frequency = i / parts.groups(), group = i % parts.groups();
        const std::int16_t* const in = frequencies + frequency_place(shape, plan, frequency, stride) + range.first * shape.maps + group * shape.group;
        current_kernels().transform.multiply32(parts.group_at(frequency, group).forward.view(rows, shape.group), {in, shape.maps, range.count},
                                               components + first, plan.size);
    }
    if (plan.joint_rows > 0) forward_joint(parts, plan, range.count, components);
}

void inverse_maps(const TransformParts& parts, const TransformPlan& plan, std::size_t blocks, std::int16_t* components, BlockRange range,
                  std::int16_t* frequencies) {
    const TransformShape& shape = parts.shape;
    const std::size_t stride = block_stride(shape, blocks);
    if (plan.joint_rows > 0) inverse_joint(parts, plan, range.count, components);
    for (std::size_t i = 0; i < plan.runs.size(); ++i) {
        const std::size_t frequency = i / parts.groups(), group = i % parts.groups();
        if (!is_computed(shape, plan, frequency)) continue;
        std::int16_t* const out = frequencies + frequency_place(shape, plan, frequency, stride) + range.first * shape.maps + group * shape.group;
        const auto [first, rows] = plan.runs[i];
        const Panels matrix = parts.group_at(frequency, group).inverse.view(shape.group, rows);
        multiply_exactly(matrix, {components + first, plan.size, range.count}, shape.group, out, shape.maps);
    }
}

}  // namespace featcodec
