// How the lanes of a rANS coder send their last states: for each lane its width, then the bits below the leading one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "featcodec.hpp"

namespace featcodec {

inline constexpr unsigned kStateLanes = 128;                                 // the most
inline constexpr std::size_t kLaneStatesBound = kStateLanes * (4 + 31) / 8;  // bytes

// States have least_width to least_width + 15 bits. Returns the bytes written, at most kLaneStatesBound, the last one padded with zeros.
std::size_t write_lane_states(std::span<const std::uint32_t> states, unsigned least_width, std::uint8_t* out);
// Reads from the front of `in`; `used` is set to the bytes they took.
Status read_lane_states(std::span<const std::uint8_t> in, unsigned least_width, std::span<std::uint32_t> states, std::size_t& used);

}  // namespace featcodec
