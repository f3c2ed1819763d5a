// One entry over all decoders: the first bytes of the input choose the decoder, its parameters and the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

void decode_any(const std::uint8_t* data, std::size_t size);
