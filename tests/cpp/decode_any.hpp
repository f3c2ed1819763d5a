// One entry over all decoders: the first bytes of the input choose the decoder, its parameters and the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

void decode_any(const std::uint8_t* data, std::size_t size);

// Of which this is the part for LDPC blocks; head: 8 bytes. Uses the instruction set in use.
void decode_ldpc(std::span<const std::uint8_t> head, std::span<const std::uint8_t> body);
