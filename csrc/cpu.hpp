// Which instruction set runs: detected once, lowered by FEATCODEC_ISA or from tests.
#pragma once

#include <cstdint>

namespace featcodec {

enum class Isa : std::uint8_t { scalar, avx2, avx512, avx512vbmi };
inline constexpr unsigned kIsaCount = 4;

const char* isa_name(Isa isa) noexcept;
// False where no level goes by this name.
bool isa_from_name(const char* name, Isa& isa) noexcept;
// The highest level this processor, its operating system and this build allow.
Isa best_isa() noexcept;
// The level in use: best_isa(), or what FEATCODEC_ISA names where that is possible, or what set_isa() chose.
Isa current_isa() noexcept;
// False where this machine cannot run it; then nothing changes.
bool set_isa(Isa isa) noexcept;

}  // namespace featcodec
