// Checksums of what the core computes: by the portable tables, whatever the instruction set under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "crc32c_kernels.hpp"

inline std::uint32_t digest(const void* data, std::size_t size, std::uint32_t before = 0) {
    return ~featcodec::crc32c_scalar(static_cast<const std::uint8_t*>(data), size, ~before);
}

template <class T>
std::uint32_t digest_of(const std::vector<T>& values, std::uint32_t before = 0) {
    return digest(values.data(), values.size() * sizeof(T), before);
}

// A line for each case and quality of transform_cases.hpp.
void print_transforms();
