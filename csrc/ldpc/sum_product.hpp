// Layered sum-product in float: the oracle of min-sum, and for whoever wants the last tenths of a dB.
#pragma once

#include "cpu.hpp"
#include "ldpc.hpp"

namespace featcodec::ldpc {

// llr: blocks * n, in nats. Every instruction set gives the same bits: exp and log are its own.
void decode_sum_product(Isa isa, const Code& code, std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out);

}  // namespace featcodec::ldpc
