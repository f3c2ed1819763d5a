// The ways to compute CRC-32C; all take and return the complemented register, as crc32c() keeps it between bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec {

std::uint32_t crc32c_scalar(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept;
// SSE4.2; every level from avx2 on has it.
std::uint32_t crc32c_sse42(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept;
// Needs has_arm_crc32().
std::uint32_t crc32c_arm(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept;

}  // namespace featcodec
