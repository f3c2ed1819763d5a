// What rANS coders need beside frequencies. The coding loops are kernels.
#include <bit>

#include "order0.hpp"

namespace featcodec {

void rans8_starts(RansCode& code, unsigned bits) {
    unsigned start = 0;
    for (unsigned i = 0; i < 1u << bits; ++i) {
        code.start[i] = static_cast<std::uint16_t>(start);
        start += code.freq[i];
    }
    for (unsigned i = 1u << bits; i < 256; ++i) {
        code.freq[i] = 0;
        code.start[i] = kRansTotal;
    }
}

// Exact division of states below 2^31 by a product (Alverson 1991; F. Giesen, rans_byte.h).
void rans8_steps(RansCode& code) {
    for (unsigned i = 0; i < 256; ++i) {
        const std::uint32_t freq = code.freq[i];
        if (freq < 2) {  // x * (2^32 - 1) >> 32 is x - 1: the bias makes up for it
            code.reciprocal[i] = UINT32_MAX;
            code.step[i] = freq | ((code.start[i] + kRansTotal - 1) & 8191u) << kRansProbBits;
            continue;
        }
        const auto shift = static_cast<unsigned>(std::bit_width(freq - 1));  // smallest with freq <= 2^shift
        code.reciprocal[i] = static_cast<std::uint32_t>(((std::uint64_t{1} << (shift + 31)) + freq - 1) / freq);
        code.step[i] = freq | static_cast<std::uint32_t>(code.start[i]) << kRansProbBits | (shift - 1) << 25;
    }
}

// The series of artanh.
double log2_of(std::uint32_t value) {
    const int exponent = std::bit_width(value) - 1;
    const double mantissa = value / static_cast<double>(1u << exponent);
    const double s = (mantissa - 1) / (mantissa + 1);
    const double square = s * s;
    return exponent + 2.885390081777927 * s * (1 + square * (1.0 / 3 + square * (1.0 / 5 + square / 7)));
}

}  // namespace featcodec
