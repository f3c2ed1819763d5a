// Samples of a batch in parallel, or parts of one large sample.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>

#include "exact_math.hpp"

namespace featcodec {

// At least 1; takes effect with the next call of parallel_for.
void set_num_threads(unsigned count) noexcept;
unsigned num_threads() noexcept;

// Threads that a parallel_for called here would share its tasks out to at most: 1 within one of several tasks.
unsigned free_threads() noexcept;

// Calls task(0) ... task(count - 1), each once, begun in this order, and returns when all are done. Where tasks throw (out of memory,
// say), one of their exceptions is thrown then. One caller at a time gets the helpers; another meanwhile works alone, as do a task
// that calls this, and one for whom the system makes no thread. A child of fork makes helpers of its own. Helpers keep kKeptScratch at
// most when they are done.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

inline constexpr std::size_t kInlineSymbols = 1 << 15;  // a batch below this is not worth waking threads for

// Coding fewer values takes less time than others need to wake up for it.
inline constexpr std::size_t kSharedValues = std::size_t{1} << 18;

// Whether so many values of one sample are worth other threads, and there are others.
inline bool worth_sharing(std::size_t values) noexcept { return values >= kSharedValues && free_threads() > 1; }

// Calls task(first, count) for parts of `values` values, `part` each but for the last; for all at once where these are few, or not
// worth sharing. What takes little time for a value has large parts.
template <typename Task>
void for_parts(std::size_t values, std::size_t part, const Task& task) {
    if (values < 8 * part || !worth_sharing(values)) {
        task(std::size_t{0}, values);
        return;
    }
    parallel_for((values - 1) / part + 1, [&](std::size_t i) { task(i * part, std::min(part, values - i * part)); });
}

// What tasks of one parallel_for do in their order, each when the one before it has: appending to one stream, say.
class Turns {
public:
    // Of one task, made before anything that may throw. Passed on when destroyed, taken or not.
    class Turn {
    public:
        Turn(Turns& turns, std::size_t number) noexcept : turns_(turns), number_(number) {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() { pass(); }
        void take() const noexcept { turns_.await(number_); }
        void pass() noexcept {
            if (passed_) return;
            take();
            turns_.next_.store(number_ + 1, std::memory_order_release);
            passed_ = true;
        }

    private:
        Turns& turns_;
        std::size_t number_;
        bool passed_ = false;
    };

private:
    void await(std::size_t number) const noexcept;
    std::atomic<std::size_t> next_{0};
};

}  // namespace featcodec
