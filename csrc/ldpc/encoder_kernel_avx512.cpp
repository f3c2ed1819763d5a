// The encoder's kernel, eight blocks at a time.
#include <cstddef>
#include <cstdint>

#include "encoder_kernel.hpp"

namespace featcodec::ldpc {
namespace {
typedef std::uint64_t Word __attribute__((vector_size(64), may_alias));
inline Word funnel(Word high, Word low, unsigned shift) { return shift == 0 ? high : high << shift | low >> (64 - shift); }
#include "encoder_kernel.inc"
}  // namespace

void encode_words_avx512(const EncodePlan& plan, std::uint64_t* mother, std::uint64_t* sent) { encode_words(plan, mother, sent); }

}  // namespace featcodec::ldpc
