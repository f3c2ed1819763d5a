// The layer kernel of the float sum-product, built for avx512.
#include <cstdint>
#include <cstring>

#include "sum_product_kernel.hpp"

namespace featcodec::ldpc {
namespace {
#include "sum_product_layer.inc"
}  // namespace

void sum_product_layer_avx512(const LayerEdge* edges, std::size_t degree, std::size_t z, std::size_t padded, float* posterior, float* messages, float* scratch) {
    layer(edges, degree, z, padded, posterior, messages, scratch);
}

}  // namespace featcodec::ldpc
