// Two entries over all decoders: the first bytes of the input choose the decoder, its parameters and the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "feature.hpp"

inline constexpr std::size_t kHead = 8;

// Streams of symbols and features.
void decode_any(const std::uint8_t* data, std::size_t size);
// LDPC blocks, each decoder on the chosen level and the scalar one.
void decode_ldpc(const std::uint8_t* data, std::size_t size);

// The instruction set, and whose processors' kernels. Never those of the last input: a failure must come back with its input alone.
void choose_kernels(std::uint8_t byte);

// Before a payload of this coder and shape, with which decode_any reads it on the scalar level; std::invalid_argument where no head says them.
std::vector<std::uint8_t> feature_head(const featcodec::FeatureCoder& coder, const featcodec::ContextShape& shape);
// The static model with which decode_any reads such a coder's payloads.
const featcodec::StaticModel* static_model(featcodec::Family family, unsigned bits);
// The same for the payload of a transform: of kTransformCases' case of that number, below kSmallTransforms, which is its coder's seed.
std::vector<std::uint8_t> transform_head(std::size_t number);
