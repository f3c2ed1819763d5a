// The encoder's kernel, one block at a time.
#include <cstddef>
#include <cstdint>

#include "encoder_kernel.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-slp-vectorize")  // pairs of words in SSE registers take half as long again as double-width shifts
#endif

namespace featcodec::ldpc {
namespace {
using Word = std::uint64_t;
inline Word funnel(Word high, Word low, unsigned shift) {
    __extension__ using Wide = unsigned __int128;  // one double-width shift, which gcc does not find in two shifts and a choice
    return static_cast<Word>((Wide{high} << 64 | low) << (shift & 63) >> 64);
}
#include "encoder_kernel.inc"
}  // namespace

void encode_words_scalar(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent) { encode_words(plan, mother, sent); }

}  // namespace featcodec::ldpc
