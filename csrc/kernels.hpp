// What every ISA level runs, in one table. Not for the ISA files, which fill their parts of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu.hpp"
#include "ldpc/encoder_kernel.hpp"
#include "ldpc/llr_steps.hpp"
#include "ldpc/single_kernel.hpp"
#include "ldpc/sum_product_kernel.hpp"

namespace featcodec {

struct ContextKernels;
struct Order0Kernels;
struct QuantizeKernels;
struct TransformKernels;
namespace ldpc {
struct ErasureKernels;
struct FramesKernel;
}  // namespace ldpc

struct Kernels {
    const Order0Kernels& order0;
    const ContextKernels& context;
    const QuantizeKernels& quantize;
    const TransformKernels& transform;
    std::uint32_t (*crc32c)(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept;
    ldpc::EncodeKernel encode;
    const ldpc::ErasureKernels& erasure;
    const ldpc::FramesKernel* frames;  // null where the level has no decoder across frames
    ldpc::single::DecodeBlock decode_block;
    ldpc::LayerFunction sum_product_layer;
    ldpc::LlrStepsFunction llr_steps;
};

// Of a level, which must be supported.
const Kernels& kernels_of(Isa isa) noexcept;
// Of the level in use.
const Kernels& current_kernels() noexcept;

}  // namespace featcodec
