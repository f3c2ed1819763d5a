// Two entries over all decoders: the first bytes of the input choose the decoder, its parameters and the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

inline constexpr std::size_t kHead = 8;

// Streams of symbols and features.
void decode_any(const std::uint8_t* data, std::size_t size);
// LDPC blocks: a hundred times as slow, so that a fuzzer would do little else.
void decode_ldpc(const std::uint8_t* data, std::size_t size);

// Never the last input's level: a failure must come back with its input alone.
void choose_isa(std::uint8_t byte);
