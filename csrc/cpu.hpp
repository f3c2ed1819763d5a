// Which instruction set the kernels use: what the processor and the operating system offer, FEATCODEC_ISA, and the tests' pin.
#pragma once

#include <string_view>

#include "exact_math.hpp"

namespace featcodec {

// scalar runs anywhere, avx2 to avx512vbmi on x86-64, neon on AArch64.
enum class Isa { scalar, avx2, avx512, avx512vbmi, neon };
inline constexpr Isa kAllIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512vbmi, Isa::neon};

// "scalar", "avx2", "avx512", "avx512vbmi", "neon".
const char* isa_name(Isa isa) noexcept;
// False where `name` names no level; `isa` is then left alone.
bool parse_isa(std::string_view name, Isa& isa) noexcept;

// Built in, in the processor, and its registers saved by the operating system.
bool isa_supported(Isa isa) noexcept;
// The highest supported level; nobody's wish is asked.
Isa best_isa() noexcept;

// The level in use: set_isa's, else FEATCODEC_ISA's, else best_isa(). The variable is read once, at the first call.
Isa current_isa() noexcept;
// False, and nothing changes, where the level is not supported. For tests: calls that run meanwhile may use either level.
bool set_isa(Isa isa) noexcept;
// Back to FEATCODEC_ISA or detection, of set_amd too.
void reset_isa() noexcept;
// Why FEATCODEC_ISA was not followed, for a warning by the caller; nullptr where it was, or where it is not set.
const char* isa_problem() noexcept;

// Whether an x86 processor is AMD's, where other kernels are the fastest; or what set_amd said.
bool is_amd() noexcept;
// For tests: the kernels chosen for either maker's processors run on the other's.
void set_amd(bool amd) noexcept;
// Whether an ARM processor has the CRC instructions, which NEON does not imply.
bool has_arm_crc32() noexcept;

}  // namespace featcodec
