// Picks the kernels of an ISA level.
#include "order0_isa.hpp"

namespace featcodec {

#if defined(FEATCODEC_X86)

const Order0Kernels& order0_kernels(Isa isa) noexcept {
    switch (isa) {
        case Isa::avx2: return order0_avx2();
        case Isa::avx512: return order0_avx512();
        case Isa::avx512vbmi: return order0_avx512vbmi();
        default: return order0_scalar();
    }
}

#elif defined(FEATCODEC_NEON)

const Order0Kernels& order0_kernels(Isa isa) noexcept { return isa == Isa::neon ? order0_neon() : order0_scalar(); }

#else

const Order0Kernels& order0_kernels(Isa) noexcept { return order0_scalar(); }

#endif

}  // namespace featcodec
