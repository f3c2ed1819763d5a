// Runs the one-frame decoder over a batch, one block after the other.
#include "single.hpp"

#include <cstdlib>
#include <memory>
#include <new>

namespace featcodec::ldpc::single {

namespace {

constexpr std::size_t kAlignment = 64;

struct Release {
    void operator()(std::int8_t* bytes) const { ::operator delete(bytes, std::align_val_t{kAlignment}); }
};

// This thread's working memory, grown to the largest plan it has decoded.
std::int8_t* workspace(std::size_t size) {
    thread_local std::unique_ptr<std::int8_t, Release> memory;
    thread_local std::size_t capacity = 0;
    if (size > capacity) {
        capacity = 0;
        memory.reset(static_cast<std::int8_t*>(::operator new(size, std::align_val_t{kAlignment})));
        for (std::size_t i = 0; i < size; ++i) memory.get()[i] = 0;  // lanes past z are computed, though never used
        capacity = size;
    }
    return memory.get();
}

}  // namespace

void decode(const Plan& plan, std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) {
    const View view = plan.view();
    std::int8_t* work = workspace(plan.workspace_size());
    const std::size_t bytes = (plan.k() + 7) / 8;
    for (std::size_t block = 0; block < blocks; ++block) {
        const Outcome outcome = plan.decode_block()(view, llr.data() + block * plan.n(), max_iterations, early_stop, work, out.bits.data() + block * bytes);
        out.ok[block] = outcome.ok;
        out.iterations[block] = outcome.iterations;
    }
}

}  // namespace featcodec::ldpc::single
