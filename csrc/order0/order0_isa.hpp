// The levels' tables, for kernels.cpp, and bodies that a level lends.
#pragma once

#include "order0_kernels.hpp"

namespace featcodec {

extern const Order0Kernels kOrder0Scalar, kOrder0Avx2, kOrder0Avx512, kOrder0Avx512Vbmi, kOrder0Neon;

// The AVX2 loop, which the AVX-512 levels use too: gcc 12 spills the 18 live registers to vector registers there, 10 % slower.
bool huffman_decode_avx2(const HuffmanJob& job);
// The same of these, up to 12 % slower built for AVX-512; of the encoder of few lanes, too.
void huffman_encode_avx2(const HuffmanCode& code, const std::uint8_t* const* in, const std::size_t* sizes, std::uint8_t* const* out,
                         std::size_t* written);
std::uint8_t* rans_encode_avx2(const RansCode& code, unsigned bits, const std::uint8_t* symbols, std::size_t count, unsigned lanes,
                               std::uint32_t* states, std::uint8_t* out, const std::uint8_t* end);
unsigned find_bytes_avx2(const std::uint8_t* bytes, std::size_t count, const std::uint8_t* rows, std::uint16_t* positions);
// The scalar loop, for fewer than 16 lanes: built for AVX, gcc 12 moves the states of 4 lanes to a vector and back, at half the speed.
const std::uint8_t* rans_decode_scalar(const RansCode& code, const std::uint32_t* slots, unsigned bits, const std::uint8_t* begin,
                                       const std::uint8_t* end, unsigned lanes, std::uint32_t* states, std::uint8_t* symbols,
                                       std::size_t count);

}  // namespace featcodec
