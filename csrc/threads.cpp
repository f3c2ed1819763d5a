// A pool that is made when first needed, sleeps between batches and is left behind at exit; a child of fork makes its own.
#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "scratch.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace featcodec {
namespace {

thread_local bool in_task = false;  // this thread works on one of several tasks

// Waits for what others are about to do, some time at most: for who sleeps to wake up takes longer than many a stage of coding.
template <typename Done>
void linger(const Done& done) {
    constexpr std::chrono::microseconds kMost{50};
    for (const auto end = std::chrono::steady_clock::now() + kMost; !done() && std::chrono::steady_clock::now() < end;) {
        std::this_thread::yield();
    }
}

class Pool {
public:
    // False, with nothing done, where another caller has the helpers or there are none.
    bool run(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& task) {
        const std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
        if (!owner.owns_lock()) return false;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            add_helpers(threads - 1);
            if (helpers_ == 0) return false;
            task_ = &task;
            count_ = count;
            next_.store(0, std::memory_order_relaxed);
            places_ = threads - 1;
            ++batch_;
        }
        wake_.notify_all();
        work(task, count);
        std::unique_lock<std::mutex> lock(mutex_);
        places_ = 0;  // whoever wakes up now need not be waited for
        if (working_ == 0) return true;
        lock.unlock();
        linger([this] { return working_ == 0; });
        lock.lock();
        done_.wait(lock, [this] { return working_ == 0; });
        return true;
    }

private:
    // As many as the system lets this process have: fewer take longer, and that is all.
    void add_helpers(unsigned most) {
        try {
            while (helpers_ < most) {
                std::thread([this] { help(); }).detach();
                ++helpers_;
            }
        } catch (const std::exception&) {  // no thread, or no memory for one
        }
    }

    void work(const std::function<void(std::size_t)>& task, std::size_t count) {
        in_task = true;
        for (std::size_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) task(i);
        in_task = false;
    }

    void help() {
        std::size_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return batch_ != seen; });
            seen = batch_;
            if (places_ == 0) continue;
            --places_;
            ++working_;
            const auto& task = *task_;
            const std::size_t count = count_;
            lock.unlock();
            work(task, count);
            trim_scratch();
            lock.lock();
            if (--working_ == 0) done_.notify_one();
            lock.unlock();
            linger([&] { return batch_ != seen; });
            lock.lock();
        }
    }

    std::mutex owner_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    std::atomic<std::size_t> next_{0};
    const std::function<void(std::size_t)>* task_ = nullptr;
    std::size_t count_ = 0;
    std::atomic<std::size_t> batch_{0};
    unsigned helpers_ = 0;
    unsigned places_ = 0;  // of helpers that may still begin
    std::atomic<unsigned> working_{0};
};

std::atomic<unsigned> thread_count{1};

std::atomic<Pool*> current_pool{nullptr};

// A child of fork has none of its parent's helpers, and perhaps locked mutexes: it makes a pool of its own.
void forget_pool() { current_pool.store(nullptr); }

// Never freed: detached helpers sleep in it while the process ends.
Pool& pool() {
#if defined(__unix__) || defined(__APPLE__)
    [[maybe_unused]] static const int once = pthread_atfork(nullptr, nullptr, forget_pool);
#endif
    Pool* known = current_pool.load();
    if (known == nullptr) {
        auto made = std::make_unique<Pool>();
        if (current_pool.compare_exchange_strong(known, made.get())) known = made.release();
    }
    return *known;
}

}  // namespace

void set_num_threads(unsigned count) noexcept { thread_count.store(count > 0 ? count : 1); }
unsigned num_threads() noexcept { return thread_count.load(); }
unsigned free_threads() noexcept { return in_task ? 1 : num_threads(); }

// The task before is at work already: giving way comes sooner to its end than sleeping.
void Turns::await(std::size_t number) const noexcept {
    while (next_.load(std::memory_order_acquire) != number) std::this_thread::yield();
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task) {
    const auto threads = static_cast<unsigned>(std::min<std::size_t>(count, free_threads()));
    if (threads > 1) {
        std::exception_ptr failure;
        std::mutex guard;
        const std::function<void(std::size_t)> guarded = [&](std::size_t i) {
            try {
                task(i);
            } catch (...) {  // must not leave a helper's stack
                const std::lock_guard<std::mutex> lock(guard);
                failure = std::current_exception();
            }
        };
        if (!pool().run(count, threads, guarded)) {
            in_task = true;
            for (std::size_t i = 0; i < count; ++i) guarded(i);
            in_task = false;
        }
        if (failure) std::rethrow_exception(failure);
        return;
    }
    for (std::size_t i = 0; i < count; ++i) task(i);
}

}  // namespace featcodec
