// What the two ways of a sample share. Not for the ISA files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "feature.hpp"
#include "threads.hpp"

namespace featcodec {

inline constexpr unsigned kByteBits = 8;

inline std::size_t size_of(FloatType type) { return type == FloatType::float32 ? sizeof(float) : sizeof(std::uint16_t); }

inline FloatSpan part(FloatSpan x, std::size_t first, std::size_t count) {
    return {static_cast<const std::uint8_t*>(x.data) + first * size_of(x.type), count, x.type};
}

inline MutableFloatSpan part(MutableFloatSpan x, std::size_t first, std::size_t count) {
    return {static_cast<std::uint8_t*>(x.data) + first * size_of(x.type), count, x.type};
}

// Floats in order as integers: comparing floats would take subnormals for zero where the calling thread flushes them.
inline std::int32_t order(float value) {
    const auto bits = std::bit_cast<std::int32_t>(value);
    return bits < 0 ? INT32_MIN - bits : bits;
}

inline bool varies(const ValueRange& range) { return order(range.min) < order(range.max); }

inline std::size_t elements_of(const ContextShape& shape) { return shape.maps * shape.height * shape.width; }

// Floats are sent little-endian; every host of ours is.
static_assert(std::endian::native == std::endian::little);

// A large sample has its own parts shared out instead (for_parts) where they are many more threads: not all that a sample takes can be.
template <typename Task>
void for_samples(std::size_t samples, std::size_t elements, const Task& task) {
    const bool apart = elements >= kSharedValues && num_threads() >= 3 * samples;
    if (samples < 2 || samples * elements < kInlineSymbols || apart) {
        for (std::size_t i = 0; i < samples; ++i) task(i);
        return;
    }
    parallel_for(samples, task);
}

}  // namespace featcodec
