// The layered offset min-sum decoder for one frame at a time in plain loops: the oracle that every vector kernel matches bit for bit.
#pragma once

#include "ldpc/ldpc.hpp"

namespace featcodec::ldpc {

// The same contract as decode_min_sum.
void decode_min_sum_scalar(const Code& code, std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out);

}  // namespace featcodec::ldpc
