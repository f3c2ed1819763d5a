// One layer of the float sum-product: what the decoder and the builds of its kernel share. Plain declarations only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "exact_math.hpp"

namespace featcodec::ldpc {

// One z x z block of a row.
struct LayerEdge {
    std::uint32_t column;    // first bit of its column
    std::uint32_t shift;     // row r meets bit column + (r + shift) mod z
    std::uint32_t messages;  // first of its `padded` messages
};

constexpr std::size_t kColumnStep = 16;  // columns are padded to a multiple of it: whole vectors of every build

constexpr float kMaxMessage = 30.f;  // nats: LLRs and messages are clamped to it

// Updates the posteriors and messages of one base row. padded: z rounded up to kColumnStep.
// scratch: (3 * degree + 2) * padded floats. The same bits from every build: additions, products,
// quotients and integer steps only, none of them contracted.
using LayerFunction = void (*)(const LayerEdge* edges, std::size_t degree, std::size_t z, std::size_t padded, float* posterior, float* messages, float* scratch);

void sum_product_layer_scalar(const LayerEdge* edges, std::size_t degree, std::size_t z, std::size_t padded, float* posterior, float* messages, float* scratch);
void sum_product_layer_avx2(const LayerEdge* edges, std::size_t degree, std::size_t z, std::size_t padded, float* posterior, float* messages, float* scratch);
void sum_product_layer_avx512(const LayerEdge* edges, std::size_t degree, std::size_t z, std::size_t padded, float* posterior, float* messages, float* scratch);

}  // namespace featcodec::ldpc
