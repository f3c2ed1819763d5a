// What the tests of the LDPC core share: bits one a byte, what decoders fill, seeded inputs, this machine's instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cpu.hpp"
#include "ldpc/ldpc.hpp"

namespace ldpc_test {

namespace fl = featcodec::ldpc;

using Bits = std::vector<std::uint8_t>;   // one a byte
using Bytes = std::vector<std::uint8_t>;  // eight a byte, most significant first
using Llrs = std::vector<std::int8_t>;

extern std::mt19937 rng;

// Ends the program where something is not right, and says of which code.
void expect(bool right, const fl::Code& code, const char* what);
void expect(bool right, const char* what);

inline std::size_t bytes_of(std::size_t bits) { return (bits + 7) / 8; }
Bits random_bits(std::size_t count);
// Blocks of `width` bits, each of which starts a byte.
Bytes pack(const Bits& bits, std::size_t width);
Bits unpack(const Bytes& bytes, std::size_t width);

inline constexpr fl::Rate kRates[] = {fl::Rate::r12, fl::Rate::r23, fl::Rate::r34, fl::Rate::r56};
inline constexpr unsigned kLengths[] = {648, 1296, 1944};
// The most information bits that a code of this length and rate takes.
unsigned wifi_info_bits(unsigned n, fl::Rate rate);

// Filled with what no decoder leaves.
struct Result {
    Bytes bits;
    std::vector<std::uint8_t> ok;
    std::vector<std::uint16_t> iterations;

    Result(const fl::Code& code, std::size_t blocks) : bits(blocks * bytes_of(code.k), 0xA5), ok(blocks, 0xA5), iterations(blocks, 0xA5A5) {}
    fl::Decoded out() { return {bits, ok, iterations}; }
    bool operator==(const Result&) const = default;
    // The first blocks alone.
    Result first(const fl::Code& code, std::size_t blocks) const;
};

// Encodes random information, which is written to `info`; -> packed sent bits.
Bytes send(const fl::Code& code, std::size_t blocks, Bytes& info);
// Sent bits as LLRs over an erasure channel: random magnitudes, 0 where erased, `flips` sure bits of each block wrong.
Llrs receive(const fl::Code& code, const Bytes& sent, double erased, unsigned flips);

std::vector<featcodec::Isa> levels();

void test_codes();
void test_encoder();
void test_min_sum();
void test_erasure();
void test_sum_product();
void test_coder();

}  // namespace ldpc_test
