// The table of levels: a level without a body of its own has a lower one's.
#include "kernels.hpp"

#include "context/context_internal.hpp"
#include "crc32c_kernels.hpp"
#include "ldpc/erasure_kernels.hpp"
#include "ldpc/frames_kernel.hpp"
#include "order0/order0_isa.hpp"
#include "quantize/quantize_kernels.hpp"
#include "transform/transform_kernels.hpp"

namespace featcodec {
namespace {

using namespace ldpc;

constexpr Kernels kScalar = {kOrder0Scalar, kContextScalar, kQuantizeScalar, kTransformScalar, crc32c_scalar, kEncodeScalar, kErasureScalar, nullptr,
                             single::decode_block_scalar, sum_product_layer_scalar, llr_steps_scalar};

#if defined(FEATCODEC_X86)

constexpr Kernels kAvx2 = {kOrder0Avx2, kContextAvx2, kQuantizeAvx2, kTransformAvx2, crc32c_sse42, {encode_words_avx2, 4}, kErasureAvx2, &kFramesAvx2,
                           single::decode_block_avx2, sum_product_layer_avx2, llr_steps_avx2};

constexpr Kernels kAvx512 = {kOrder0Avx512, kContextAvx512, kQuantizeAvx512, kTransformAvx512, crc32c_sse42, {encode_words_avx512, 8}, kErasureAvx512, &kFramesAvx512,
                             single::decode_block_avx512, sum_product_layer_avx512, llr_steps_avx2};

constexpr Kernels kAvx512Vbmi = {kOrder0Avx512Vbmi, kContextAvx512Vbmi, kQuantizeAvx512, kTransformAvx512, crc32c_sse42, {encode_words_avx512, 8}, kErasureAvx512Vbmi,
                                 &kFramesAvx512, single::decode_block_avx512vbmi, sum_product_layer_avx512, llr_steps_avx2};

#elif defined(FEATCODEC_NEON)

std::uint32_t crc32c_neon(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept {
    return has_arm_crc32() ? crc32c_arm(data, size, state) : crc32c_scalar(data, size, state);
}

constexpr Kernels kNeon = {kOrder0Neon, kContextScalar, kQuantizeNeon, kTransformNeon, crc32c_neon, kEncodeScalar, kErasureScalar, nullptr,
                           single::decode_block_scalar, sum_product_layer_scalar, llr_steps_scalar};

#endif

}  // namespace

const Kernels& kernels_of([[maybe_unused]] Isa isa) noexcept {
#if defined(FEATCODEC_X86)
    constexpr const Kernels* kLevels[] = {&kScalar, &kAvx2, &kAvx512, &kAvx512Vbmi};
    return *kLevels[static_cast<std::size_t>(isa)];
#elif defined(FEATCODEC_NEON)
    return isa == Isa::neon ? kNeon : kScalar;
#else
    return kScalar;
#endif
}

const Kernels& current_kernels() noexcept { return kernels_of(current_isa()); }

}  // namespace featcodec
