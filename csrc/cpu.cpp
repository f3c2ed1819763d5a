// Processor features: on x86-64 by cpuid, and the operating system's part by xgetbv; on AArch64, which includes NEON, from the kernel.
#include "cpu.hpp"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(FEATCODEC_X86)
#include <cpuid.h>
#elif defined(FEATCODEC_NEON) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace featcodec {
namespace {

constexpr const char* kNames[] = {"scalar", "avx2", "avx512", "avx512vbmi", "neon"};

#if defined(FEATCODEC_X86)

constexpr bool has(std::uint32_t word, unsigned bit) { return ((word >> bit) & 1u) != 0; }

// XCR0: the register files that the operating system saves. xgetbv by hand: the intrinsic needs -mxsave.
std::uint64_t saved_registers() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return std::uint64_t{high} << 32 | low;
}

Isa detect() {
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return Isa::scalar;
    const bool sse42 = has(c, 20);
    const bool osxsave = has(c, 27);
    const bool avx = has(c, 28);
    const bool f16c = has(c, 29);
    if (!sse42 || !osxsave || !avx || !f16c) return Isa::scalar;
    const std::uint64_t saved = saved_registers();
    constexpr std::uint64_t kYmm = 0x06;  // xmm, upper halves of ymm
    constexpr std::uint64_t kZmm = 0xE6;  // and mask registers, upper halves of zmm, zmm16..31
    if ((saved & kYmm) != kYmm || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::scalar;
    const bool avx2 = has(b, 5) && has(b, 3) && has(b, 8);  // with BMI and BMI2
    if (!avx2) return Isa::scalar;
    const bool avx512 = has(b, 16) && has(b, 17) && has(b, 30) && has(b, 31);  // F, DQ, BW, VL
    if (!avx512 || (saved & kZmm) != kZmm) return Isa::avx2;
    return has(c, 1) && has(c, 6) ? Isa::avx512vbmi : Isa::avx512;  // VBMI, VBMI2
}

#elif defined(FEATCODEC_NEON)

Isa detect() { return Isa::neon; }

#else

Isa detect() { return Isa::scalar; }

#endif

// FEATCODEC_ISA as read once.
struct Wish {
    Isa isa;
    char problem[160];  // empty: followed, or not set
};

Wish read_wish() {
    Wish wish{best_isa(), ""};
    const char* name = std::getenv("FEATCODEC_ISA");
    if (name == nullptr || *name == '\0') return wish;
    Isa asked{};
    if (!parse_isa(name, asked)) {
        std::snprintf(wish.problem, sizeof wish.problem,
                      "FEATCODEC_ISA must be scalar, avx2, avx512, avx512vbmi or neon, got \"%.40s\"; using %s", name, isa_name(wish.isa));
    } else if (!isa_supported(asked)) {
        std::snprintf(wish.problem, sizeof wish.problem, "FEATCODEC_ISA=%s is not supported here; using %s", isa_name(asked),
                      isa_name(wish.isa));
    } else {
        wish.isa = asked;
    }
    return wish;
}

const Wish& wish() {
    static const Wish once = read_wish();
    return once;
}

bool made_by_amd() {
#if defined(FEATCODEC_X86)
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    return __get_cpuid(0, &a, &b, &c, &d) != 0 && b == 0x68747541;  // "Auth" of "AuthenticAMD"
#else
    return false;
#endif
}

std::atomic<int> pinned{-1};      // set_isa's level; -1: none
std::atomic<int> pinned_amd{-1};  // what set_amd said; -1: nothing

}  // namespace

const char* isa_name(Isa isa) noexcept { return kNames[static_cast<int>(isa)]; }

bool parse_isa(std::string_view name, Isa& isa) noexcept {
    for (const Isa candidate : kAllIsas) {
        if (name == isa_name(candidate)) {
            isa = candidate;
            return true;
        }
    }
    return false;
}

// Levels of one kind of processor are nested: each includes those below it.
bool isa_supported(Isa isa) noexcept {
    const Isa best = best_isa();
    if (best == Isa::neon) return isa == Isa::neon || isa == Isa::scalar;
    return isa <= best;
}

Isa best_isa() noexcept {
    static const Isa once = detect();
    return once;
}

Isa current_isa() noexcept {
    const int isa = pinned.load(std::memory_order_relaxed);
    return isa >= 0 ? static_cast<Isa>(isa) : wish().isa;
}

bool set_isa(Isa isa) noexcept {
    if (!isa_supported(isa)) return false;
    pinned.store(static_cast<int>(isa), std::memory_order_relaxed);
    return true;
}

void reset_isa() noexcept {
    pinned.store(-1, std::memory_order_relaxed);
    pinned_amd.store(-1, std::memory_order_relaxed);
}

bool is_amd() noexcept {
    static const bool once = made_by_amd();
    const int amd = pinned_amd.load(std::memory_order_relaxed);
    return amd >= 0 ? amd != 0 : once;
}

void set_amd(bool amd) noexcept { pinned_amd.store(amd ? 1 : 0, std::memory_order_relaxed); }

bool has_arm_crc32() noexcept {
#if defined(FEATCODEC_NEON) && defined(__linux__)
    constexpr unsigned long kCrc32 = 1ul << 7;  // HWCAP_CRC32
    static const bool once = (getauxval(AT_HWCAP) & kCrc32) != 0;
    return once;
#elif defined(FEATCODEC_NEON) && defined(__APPLE__)
    return true;  // in every one of its 64-bit ARM computers
#else
    return false;
#endif
}

const char* isa_problem() noexcept { return wish().problem[0] != '\0' ? wish().problem : nullptr; }

}  // namespace featcodec
