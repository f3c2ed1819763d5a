// Samples of a batch in parallel.
#pragma once

#include <cstddef>
#include <functional>

#include "exact_math.hpp"

namespace featcodec {

// At least 1; takes effect with the next call of parallel_for.
void set_num_threads(unsigned count) noexcept;
unsigned num_threads() noexcept;

// Calls task(0) ... task(count - 1), each once, in any order, and returns when all are done. Where tasks throw (out of memory,
// say), one of their exceptions is thrown then. One caller at a time gets the helpers; another meanwhile works alone, as does one
// for whom the system makes no thread. A child of fork makes helpers of its own.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

}  // namespace featcodec
