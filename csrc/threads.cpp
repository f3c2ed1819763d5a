// A pool that is made when first needed, sleeps between batches and is left behind at exit and by fork.
#include "threads.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace featcodec {
namespace {

long process_id() noexcept {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<long>(getpid());
#else
    return 0;
#endif
}

class Pool {
public:
    // True where the helpers took part; false where another caller has them.
    bool run(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& task) {
        const std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
        if (!owner.owns_lock()) return false;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            while (helpers_ + 1 < threads) {
                std::thread([this, index = helpers_] { help(index); }).detach();
                ++helpers_;
            }
            task_ = &task;
            count_ = count;
            next_.store(0, std::memory_order_relaxed);
            wanted_ = threads - 1;
            working_ = wanted_;
            ++batch_;
        }
        wake_.notify_all();
        work(task, count);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return working_ == 0; });
        return true;
    }

private:
    void work(const std::function<void(std::size_t)>& task, std::size_t count) {
        for (std::size_t i = next_.fetch_add(1); i < count; i = next_.fetch_add(1)) task(i);
    }

    void help(unsigned index) {
        std::size_t seen = 0;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return batch_ != seen; });
            seen = batch_;
            if (index >= wanted_) continue;
            const auto& task = *task_;
            const std::size_t count = count_;
            lock.unlock();
            work(task, count);
            lock.lock();
            if (--working_ == 0) done_.notify_one();
        }
    }

    std::mutex owner_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable done_;
    std::atomic<std::size_t> next_{0};
    const std::function<void(std::size_t)>* task_ = nullptr;
    std::size_t count_ = 0;
    std::size_t batch_ = 0;
    unsigned helpers_ = 0;
    unsigned wanted_ = 0;
    unsigned working_ = 0;
};

std::atomic<unsigned> thread_count{1};

// Never freed: detached helpers sleep in it while the process ends.
Pool& pool() {
    static Pool* const instance = new Pool;
    return *instance;
}

}  // namespace

void set_num_threads(unsigned count) noexcept { thread_count.store(count > 0 ? count : 1); }
unsigned num_threads() noexcept { return thread_count.load(); }

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task) {
    static const long owner = process_id();
    const auto threads = static_cast<unsigned>(count < num_threads() ? count : num_threads());
    if (threads > 1 && process_id() == owner) {
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
        if (pool().run(count, threads, guarded)) {
            if (failure) std::rethrow_exception(failure);
            return;
        }
    }
    for (std::size_t i = 0; i < count; ++i) task(i);
}

}  // namespace featcodec
