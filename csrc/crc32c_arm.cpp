// CRC-32C by the CRC instructions, optional in ARMv8.0: built with their flag, called only where the processor has them. One run, not
// three side by side as on x86: 8 bytes in the few cycles of an instruction's latency are well above the coders' speed.
#if defined(FEATCODEC_NEON)

#include <arm_acle.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crc32c_kernels.hpp"

namespace featcodec {

std::uint32_t crc32c_arm(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept {
    for (; size >= 8; size -= 8, data += 8) {
        std::uint64_t word;
        std::memcpy(&word, data, 8);
        state = __crc32cd(state, word);
    }
    for (; size > 0; --size, ++data) state = __crc32cb(state, *data);
    return state;
}

}  // namespace featcodec

#endif
