// How many parity checks fail.
#pragma once

#include "ldpc.hpp"

namespace featcodec::ldpc {

// Packed mother codewords, ceil(mother_bits / 8) bytes each -> how many checks of the matrix fail.
void syndrome_weight(const Code& code, std::span<const std::uint8_t> mother, std::span<std::uint32_t> weight, std::size_t blocks);

}  // namespace featcodec::ldpc
