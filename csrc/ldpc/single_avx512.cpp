// The one-frame min-sum decoder with AVX-512BW: 32 or 64 rows at a time over mirrored columns.
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own headers: _mm512_undefined_epi32
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstring>

#include "single_kernel.hpp"

namespace featcodec::ldpc::single {

namespace {

#include "single_lanes512.inc"
#include "single_rows.inc"

}  // namespace

Outcome decode_block_avx512(const View& view, const std::int8_t* llr, unsigned max_iterations, bool early_stop, std::int8_t* work, std::uint8_t* bits) {
    if (view.lanes == 32) return Decoder<Lanes32, Mirrored<Lanes32>>::run(view, llr, max_iterations, early_stop, work, bits);
    return Decoder<Lanes64, Mirrored<Lanes64>>::run(view, llr, max_iterations, early_stop, work, bits);
}

}  // namespace featcodec::ldpc::single
