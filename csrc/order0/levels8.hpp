// How the Huffman table sends a code length for each coded byte: Rice-coded differences.
#pragma once

#include <cstdint>

#include "bits.hpp"
#include "featcodec.hpp"

namespace featcodec {

// levels[0..alphabet) in 1..absent, where `absent` means that the symbol does not occur. row: what a step in the second
// dimension is (the symbols of a coded byte), 0 where there is none.
void levels8_write(BitWriter& writer, const std::uint8_t* levels, unsigned alphabet, unsigned row, unsigned absent);
Status levels8_read(BitReader& reader, std::uint8_t* levels, unsigned alphabet, unsigned row, unsigned absent);

}  // namespace featcodec
