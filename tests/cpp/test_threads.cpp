// The pool's threads, and callers of our own, with the least of what a system gives.
#include "test_threads.hpp"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "cpu.hpp"
#include "feature.hpp"
#include "threads.hpp"

namespace fc = featcodec;

namespace {

#if defined(__linux__)

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::abort();
}

void code_all() {
    constexpr std::size_t kSamples = 3;
    const fc::Family families[] = {fc::Family::packed, fc::Family::huffman, fc::Family::rans, fc::Family::context, fc::Family::automatic};
    const fc::ContextShape shapes[] = {{32, 48, 48}, {4, 64, 64}, {8, 10, 9}};
    for (const fc::ContextShape& shape : shapes) {
        std::vector<float> x(kSamples * shape.maps * shape.height * shape.width);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const float wave = std::sin(0.05f * static_cast<float>(i % shape.width)) + std::cos(0.03f * static_cast<float>(i / shape.width));
            x[i] = i / (shape.height * shape.width) % 2 == 0 ? wave : wave * wave * wave - static_cast<float>(i * 2654435761u % 17) / 9.0f;
        }
        std::vector<float> y(x.size());
        for (const fc::Family family : families) {
            for (const unsigned bits : {1u, 2u, 3u, 4u, 6u, 8u, 12u, 16u}) {
                fc::FeatureCoder coder;
                coder.family = family;
                coder.bits = bits;
                coder.step = bits == 6 ? 0.01f : 0.0f;
                const auto encoded = fc::feature_encode(coder, {x.data(), x.size(), fc::FloatType::float32}, kSamples, shape);
                const std::vector<std::span<const std::uint8_t>> payloads(encoded.payloads.begin(), encoded.payloads.end());
                const auto status = fc::feature_decode(coder, payloads, shape, {y.data(), y.size(), fc::FloatType::float32});
                expect(status == fc::Status::ok, "what was encoded decodes with little stack");
            }
        }
    }
}

// How many threads have taken part in some tasks that take a while.
std::size_t threads_at_work() {
    static std::atomic<unsigned> number;
    static thread_local unsigned own;
    std::atomic<unsigned> seen{0};
    fc::parallel_for(64, [&](std::size_t) {
        if (own == 0) own = ++number;
        seen |= 1u << own;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    return static_cast<std::size_t>(__builtin_popcount(seen.load()));
}

#endif

}  // namespace

void small_stacks() {
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)  // which needs more
    pthread_attr_t attributes;
    pthread_attr_t before;
    pthread_getattr_default_np(&before);
    pthread_getattr_default_np(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    expect(pthread_setattr_default_np(&attributes) == 0, "threads may have 64 KB of stack");
    fc::set_num_threads(3);
    for (const fc::Isa isa : fc::kAllIsas) {
        if (fc::set_isa(isa)) std::thread(code_all).join();
    }
    pthread_setattr_default_np(&before);
    fc::reset_isa();
#endif
}

void forked_children() {
#if defined(__linux__)
    fc::set_num_threads(3);
    expect(threads_at_work() > 1, "tasks are shared");
    const pid_t child = fork();
    if (child == 0) _exit(threads_at_work() > 1 ? 0 : 1);
    int status = 0;
    expect(waitpid(child, &status, 0) == child && WIFEXITED(status), "a forked child ends");
    expect(WEXITSTATUS(status) == 0, "a forked child shares its tasks");
#endif
}
