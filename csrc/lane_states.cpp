#include "lane_states.hpp"

#include <bit>

#include "bits.hpp"

namespace featcodec {
namespace {

constexpr unsigned kWidthBits = 4;

}  // namespace

std::size_t write_lane_states(std::span<const std::uint32_t> states, unsigned least_width, std::uint8_t* out) {
    BitWriter writer({out, kLaneStatesBound});
    for (const std::uint32_t state : states) {
        const auto width = static_cast<unsigned>(std::bit_width(state));
        writer.put(width - least_width, kWidthBits);
        writer.put(state ^ 1u << (width - 1), width - 1);
    }
    return writer.finish();
}

Status read_lane_states(std::span<const std::uint8_t> in, unsigned least_width, std::span<std::uint32_t> states, std::size_t& used) {
    BitReader reader(in);
    for (std::uint32_t& state : states) {
        const unsigned below = reader.get(kWidthBits) + least_width - 1;
        state = 1u << below | reader.get(below);
    }
    if (reader.overrun()) return Status::truncated;
    used = reader.bytes_used();
    const auto padding = static_cast<unsigned>(used * 8 - reader.bits_used());
    return padding > 0 && reader.peek(padding) != 0 ? Status::bad_code : Status::ok;
}

}  // namespace featcodec
