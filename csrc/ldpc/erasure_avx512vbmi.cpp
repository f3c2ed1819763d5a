// Erasures with AVX-512 and VBMI2's funnel shifts.
#if defined(FEATCODEC_X86)

// gcc 12's own AVX-512 headers set off these two.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "erasure_kernels.hpp"

namespace featcodec::ldpc {
namespace {

#include "erasure_wide512.inc"

}  // namespace

extern const ErasureKernels kErasureAvx512Vbmi = {pack_llr, reverse_bits, spread, peel, add_row, 8, transpose_across<__m512i>, peel_across<__m512i>};

}  // namespace featcodec::ldpc

#endif
