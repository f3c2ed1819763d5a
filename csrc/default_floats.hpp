// The calling thread's floating-point environment: round to nearest even, subnormals kept, no traps, while one of these lives.
// Whoever calls may flush subnormals to zero (torch.set_flush_denormal) or round otherwise. The compiler may move arithmetic across
// a change of the environment, but no call: what is to run in it must not be inlined beside it.
#pragma once

#include <cstdint>

#if defined(FEATCODEC_X86)
#include <xmmintrin.h>
#endif

namespace featcodec {

class DefaultFloats {
public:
    DefaultFloats(const DefaultFloats&) = delete;
    DefaultFloats& operator=(const DefaultFloats&) = delete;
#if defined(FEATCODEC_X86)
    DefaultFloats() : before_(_mm_getcsr()) {
        if ((before_ & ~kFlags) != kDefault) _mm_setcsr(kDefault);
    }
    ~DefaultFloats() {
        if ((before_ & ~kFlags) != kDefault) _mm_setcsr(before_);
    }

private:
    static constexpr unsigned kFlags = 0x3F;  // sticky: what has happened so far
    static constexpr unsigned kDefault = 0x1F80;
    unsigned before_;
#elif defined(__aarch64__)
    DefaultFloats() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
        if (before_ != 0) __asm__ volatile("msr fpcr, %0" ::"r"(std::uint64_t{0}));
    }
    ~DefaultFloats() {
        if (before_ != 0) __asm__ volatile("msr fpcr, %0" ::"r"(before_));
    }

private:
    std::uint64_t before_;
#else
    DefaultFloats() {}
#endif
};

}  // namespace featcodec
