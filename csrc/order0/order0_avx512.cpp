// The avx512 level of the order-0 kernels: the portable loops with BMI2 shifts, and packing in 32-byte steps.
// gcc 12 takes the undefined pass-through operands of its own intrinsics for uninitialised variables (gcc bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstring>

#include "order0_isa.hpp"
#include "order0_kernels.hpp"

namespace featcodec {
namespace {

#include "histogram8_pack8_loops.inc"

#include "order0_avx512.inc"
#include "huffman8_loops.inc"
#include "rans8_loops.inc"
#include "rans8_avx512.inc"

}  // namespace

const Order0Kernels kOrder0Avx512 = {"avx512",        histogram,      pack,        unpack,      huffman_table,   huffman_encode_avx2,
                                    huffman_decode_avx2, rans_slots,     rans_encode, rans_decode, rans_needs_slots,
                                    find_bytes_avx2};

}  // namespace featcodec
