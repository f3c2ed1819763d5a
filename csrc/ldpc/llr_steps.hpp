// LLRs in nats as the int8 steps that the fixed-point decoders take. Plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featcodec::ldpc {

// steps[i] = clip(rint(kLlrScale * llr[i]), -127, 127), ties to even, but +-1 where that would make 0 of an LLR that is not: 0 is an erased bit and nothing
// else. False where an LLR is NaN; `steps` then holds anything. Every kernel gives the same.
using LlrStepsFunction = bool (*)(const float* llr, std::size_t count, std::int8_t* steps);

bool llr_steps_scalar(const float* llr, std::size_t count, std::int8_t* steps);
bool llr_steps_avx2(const float* llr, std::size_t count, std::int8_t* steps);

}  // namespace featcodec::ldpc
