// The one-frame min-sum decoder with AVX-512 VBMI: a column of up to 64 bytes is one vector, turned by a byte permutation.
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own headers: _mm512_undefined_epi32
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstring>

#include "single_kernel.hpp"

namespace featcodec::ldpc::single {

namespace {

#include "single_lanes512.inc"
#include "single_rows.inc"

template <class W>
typename W::Vec turned(const View& view, ConstBytes column, std::uint32_t turn, std::uint32_t at) {
    const typename W::Vec index = W::load(reinterpret_cast<ConstBytes>(view.ring) + turn + at);
    if constexpr (W::kLanes == 32)
        return _mm256_permutexvar_epi8(index, W::load(column));
    else
        return _mm512_permutexvar_epi8(index, W::load(column));
}

// One vector holds the column.
template <class W>
struct Turned {
    static constexpr bool kTurns = true, kOneVector = true;
    static typename W::Vec fetch(const View& view, ConstBytes columns, const Edge& edge, std::uint32_t at) {
        return turned<W>(view, columns + edge.read, edge.turn, at);
    }
    static void put(const View&, Bytes column, std::uint32_t, typename W::Vec value) { W::store(column, value); }
    static void place(const View& view, ConstBytes natural, const Column& column, Bytes columns) {
        W::store(columns + column.home, turned<W>(view, natural, column.last, 0));
    }
};

}  // namespace

Outcome decode_block_avx512vbmi(const View& view, const std::int8_t* llr, unsigned max_iterations, bool early_stop, std::int8_t* work, std::uint8_t* bits) {
    if (view.layout == Layout::turned) {
        if (view.lanes == 32) return Decoder<Lanes32, Turned<Lanes32>>::run(view, llr, max_iterations, early_stop, work, bits);
        return Decoder<Lanes64, Turned<Lanes64>>::run(view, llr, max_iterations, early_stop, work, bits);
    }
    return decode_block_avx512(view, llr, max_iterations, early_stop, work, bits);
}

}  // namespace featcodec::ldpc::single
