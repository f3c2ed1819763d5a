// LLRs to int8 steps, AVX2.
#include "llr_steps.hpp"

#include <cstring>

#include "ldpc.hpp"

namespace featcodec::ldpc {
namespace {
#include "llr_steps.inc"
}  // namespace

bool llr_steps_avx2(const float* llr, std::size_t count, std::int8_t* steps) { return to_steps(llr, count, steps); }

}  // namespace featcodec::ldpc
