// Detection by the compiler's own cpuid (which asks the operating system too); one atomic holds the level in use.
#include "cpu.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace featcodec {
namespace {

constexpr const char* kNames[kIsaCount] = {"scalar", "avx2", "avx512", "avx512vbmi"};

Isa detect() noexcept {
#if defined(FEATCODEC_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")) return Isa::scalar;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq")) {
        return Isa::avx2;
    }
    const bool vbmi = __builtin_cpu_supports("avx512vbmi") != 0 && __builtin_cpu_supports("avx512vbmi2") != 0;
    return vbmi ? Isa::avx512vbmi : Isa::avx512;
#else
    return Isa::scalar;
#endif
}

Isa initial() noexcept {
    const Isa best = best_isa();
    Isa wanted = best;
    const char* name = std::getenv("FEATCODEC_ISA");
    return name != nullptr && isa_from_name(name, wanted) && wanted <= best ? wanted : best;
}

std::atomic<Isa>& level() noexcept {
    static std::atomic<Isa> isa{initial()};
    return isa;
}

}  // namespace

const char* isa_name(Isa isa) noexcept { return kNames[static_cast<unsigned>(isa)]; }

bool isa_from_name(const char* name, Isa& isa) noexcept {
    for (unsigned i = 0; i < kIsaCount; ++i) {
        if (std::strcmp(name, kNames[i]) == 0) {
            isa = static_cast<Isa>(i);
            return true;
        }
    }
    return false;
}

Isa best_isa() noexcept {
    static const Isa best = detect();
    return best;
}

Isa current_isa() noexcept { return level().load(std::memory_order_relaxed); }

bool set_isa(Isa isa) noexcept {
    if (isa > best_isa()) return false;
    level().store(isa, std::memory_order_relaxed);
    return true;
}

}  // namespace featcodec
