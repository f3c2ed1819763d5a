// The quantizers for AVX-512 without VBMI.
#if defined(FEATCODEC_X86)

// gcc 12 takes the undefined pass-through operands of its own intrinsics for uninitialised variables (gcc bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quantize_kernels.hpp"

namespace featcodec {
namespace {

constexpr const char* kName = "avx512";

#include "quantize_avx512.inc"

}  // namespace

const QuantizeKernels& quantize_avx512() noexcept { return kKernels; }

}  // namespace featcodec

#endif
