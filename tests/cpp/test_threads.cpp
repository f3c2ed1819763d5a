// The pool's threads, and callers of our own, with the least of what a system gives.
#include "test_threads.hpp"

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <stdexcept>
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

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::abort();
}

std::size_t elements_of(const fc::ContextShape& shape) { return shape.maps * shape.height * shape.width; }

// Smooth, so that context coding takes the gradient, or rough with many zeros.
std::vector<float> large_feature(const fc::ContextShape& shape, std::size_t samples, bool smooth) {
    std::vector<float> x(samples * elements_of(shape));
    std::uint32_t noise = 1;
    for (std::size_t i = 0; i < x.size(); ++i) {
        noise = noise * 1664525u + 1013904223u;
        const float rough = static_cast<float>(noise >> 8) * 0x1p-24f;
        const float wave = std::sin(0.05f * static_cast<float>(i % shape.width)) + std::cos(0.03f * static_cast<float>(i / shape.width));
        x[i] = smooth ? wave + 0.01f * rough : rough < 0.6f ? 0.0f : rough * rough * wave;
    }
    return x;
}

struct Coded {
    std::vector<std::vector<std::uint8_t>> payloads;
    std::vector<std::uint8_t> values;
    bool operator==(const Coded&) const = default;
};

Coded code(const fc::FeatureCoder& coder, const std::vector<float>& x, std::size_t samples, const fc::ContextShape& shape, fc::FloatType type) {
    // of a half type: the upper halves of floats, which are bfloat16, and as float16 some value too
    std::vector<std::uint16_t> halves(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) halves[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x[i]) >> 16);
    const bool whole = type == fc::FloatType::float32;
    const void* const from = whole ? static_cast<const void*>(x.data()) : halves.data();
    Coded coded;
    coded.payloads = fc::feature_encode(coder, {from, x.size(), type}, samples, shape).payloads;
    const std::vector<std::span<const std::uint8_t>> payloads(coded.payloads.begin(), coded.payloads.end());
    coded.values.resize(x.size() * (whole ? 4 : 2));
    const auto status = fc::feature_decode(coder, payloads, shape, {coded.values.data(), x.size(), type});
    expect(status == fc::Status::ok, "what several threads encoded decodes");
    return coded;
}

// The same from any number of threads, with a batch of one and one that is too few for the threads.
void expect_same(const fc::FeatureCoder& coder, const fc::ContextShape& shape, bool smooth, fc::FloatType type) {
    for (const std::size_t samples : {1u, 2u}) {
        const std::vector<float> x = large_feature(shape, samples, smooth);
        fc::set_num_threads(1);
        const Coded alone = code(coder, x, samples, shape, type);
        for (const unsigned threads : {2u, 3u, 7u}) {
            fc::set_num_threads(threads);
            expect(code(coder, x, samples, shape, type) == alone, "threads change no byte and no value");
        }
    }
}

void expect_first_bad(const fc::ContextShape& shape) {
    constexpr std::size_t kSamples = 2;
    fc::FeatureCoder coder;
    std::vector<float> x = large_feature(shape, kSamples, false);
    const std::size_t elements = elements_of(shape);
    const auto coded = [&] { return fc::feature_encode(coder, {x.data(), x.size(), fc::FloatType::float32}, kSamples, shape); };
    x[2 * elements - 1] = std::numeric_limits<float>::quiet_NaN();
    expect(coded().not_finite == 1, "the last value is looked at");
    x[elements / 2] = std::numeric_limits<float>::infinity();
    expect(coded().not_finite == 0, "the first sample that is not finite is named");
}

// What was damaged is refused by many threads as it is by one.
void expect_refused(const fc::FeatureCoder& coder, const fc::ContextShape& shape) {
    const std::vector<float> x = large_feature(shape, 1, false);
    std::vector<float> y(x.size());
    fc::set_num_threads(1);
    const auto sent = fc::feature_encode(coder, {x.data(), x.size(), fc::FloatType::float32}, 1, shape).payloads[0];
    for (std::size_t at = 8; at < sent.size(); at += sent.size() / 11) {
        auto damaged = sent;
        damaged[at] ^= 0x55;
        damaged.resize(at % 2 == 0 ? damaged.size() : at);
        const std::span<const std::uint8_t> payload(damaged);
        const auto decoded = [&](unsigned threads) {
            fc::set_num_threads(threads);
            return fc::feature_decode(coder, {&payload, 1}, shape, {y.data(), y.size(), fc::FloatType::float32});
        };
        expect(decoded(1) == decoded(3), "threads refuse what one refuses");
    }
}

#if defined(__linux__)

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

void shared_samples(unsigned share) {
    // about what is worth sharing, and about what cheap stages share; few maps, many, and rows as long as maps
    const fc::ContextShape shapes[] = {{64, 64, 64}, {1, 511, 513}, {1, 513, 513}, {3, 1, 100003}, {33, 181, 179}, {17, 256, 256}};
    unsigned number = 0;
    for (const fc::Family family : {fc::Family::packed, fc::Family::huffman, fc::Family::rans, fc::Family::context, fc::Family::automatic}) {
        for (const unsigned bits : {1u, 3u, 4u, 8u, 12u}) {
            for (const fc::ContextShape& shape : shapes) {
                if (++number % share != 0) continue;
                fc::FeatureCoder coder;
                coder.family = family;
                coder.bits = bits;
                coder.per_map = number % 5 == 2;
                coder.step = number % 7 == 3 ? 0.01f : 0.0f;
                expect_same(coder, shape, number % 2 == 0, static_cast<fc::FloatType>(number % 3));
                if (number % 4 == 0) expect_refused(coder, shape);
            }
        }
    }
    expect_first_bad({64, 64, 64});
}

void nested_tasks() {
    fc::set_num_threads(3);
    const auto tasks_done = [] {
        std::atomic<unsigned> done{0};
        fc::parallel_for(8, [&](std::size_t) {
            expect(fc::free_threads() == 1, "a task has its own thread alone");
            fc::parallel_for(4, [&](std::size_t) { fc::parallel_for(2, [&](std::size_t) { ++done; }); });
        });
        return done.load();
    };
    // callers beside each other: one has the helpers
    std::vector<std::thread> callers;
    for (unsigned i = 0; i < 3; ++i) callers.emplace_back([&] {
        for (unsigned k = 0; k < 50; ++k) expect(tasks_done() == 64, "tasks of tasks are done once each");
    });
    for (std::thread& caller : callers) caller.join();
    expect(fc::free_threads() == 3, "tasks leave their caller as it was");
}

void turns_in_order() {
    for (const unsigned threads : {1u, 3u}) {
        fc::set_num_threads(threads);
        fc::Turns turns;
        std::vector<std::size_t> order;
        bool thrown = false;
        try {
            fc::parallel_for(100, [&](std::size_t i) {
                fc::Turns::Turn turn(turns, i);
                if (i == 90) throw std::runtime_error("before its turn");
                turn.take();
                order.push_back(i);
            });
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        expect(thrown, "a task's exception is the caller's");
        expect(order.size() == (threads == 1 ? 90 : 99), "who comes after one that threw has a turn");
        for (std::size_t i = 0; i < order.size(); ++i) expect(order[i] == i + (i >= 90), "turns come in order");
    }
}

void small_stacks() {
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need more
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
