// Transform coders of every kind of shape, their states made with integers alone: the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "transform/transform.hpp"

struct TransformCase {
    featcodec::TransformShape shape;
    std::size_t height;
    std::size_t width;
};

// The maps of a vector that levels take at a time and more or fewer, blocks that fill a grid and others, one zone, some, and all.
inline constexpr TransformCase kTransformCases[] = {
    {{1, 1, 1, 1, 1, 0}, 1, 1},       {{3, 2, 1, 3, 2, 2}, 5, 3},      {{6, 1, 3, 2, 3, 5}, 2, 10},      {{8, 7, 5, 8, 35, 40}, 7, 5},
    {{17, 4, 4, 17, 5, 0}, 6, 9},     {{32, 8, 8, 32, 64, 70}, 16, 8}, {{40, 1, 1, 20, 1, 9}, 11, 1},    {{2, 32, 16, 1, 37, 3}, 33, 20},
    {{16, 14, 14, 16, 1, 1}, 28, 14}, {{33, 1, 7, 11, 7, 1}, 3, 14},   {{48, 2, 2, 48, 4, 192}, 30, 10}, {{24, 16, 16, 8, 256, 0}, 16, 16},
};

// The first of them, which are small enough to be tried in great number.
inline constexpr std::size_t kSmallTransforms = 8;

std::unique_ptr<featcodec::TransformCoder> transform_coder(const TransformCase& of, std::uint64_t seed);

// Samples around the means, few values far off.
std::vector<float> transform_feature(const TransformCase& of, std::size_t samples, std::uint64_t seed);
