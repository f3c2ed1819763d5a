// What every source includes: bytes and values are the same everywhere only where the compiler keeps to IEEE arithmetic.
#pragma once

#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "featcodec must not be built with -ffast-math or -ffinite-math-only: other values, other bytes"
#endif
