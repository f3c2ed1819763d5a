// Context coder, AVX-512 with VBMI2: the decoder with word expands; the rest is the AVX-512 set's.
// gcc 12 takes the "undefined" operands inside its own intrinsics for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "context_internal.hpp"

namespace featcodec {
namespace {

#include "context_gradient512.inc"
#include "context_decode_avx512.inc"

}  // namespace

const ContextKernels kContextAvx512Vbmi = {context_split_avx2,   context_join_avx2,    context_deal_avx2,     context_collect_avx512,
                                           context_index_avx512, context_predict_avx512, context_pair_avx2,     context_count_scalar,
                                           context_encode_avx512, decode};

}  // namespace featcodec
