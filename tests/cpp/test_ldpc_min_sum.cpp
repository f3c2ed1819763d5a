// Offset min-sum: one block at a time and across blocks, on every instruction set, against the plain decoder of
// min_sum_scalar.cpp, bit for bit.
#include <algorithm>
#include <cmath>

#include "ldpc/min_sum_frames.hpp"
#include "ldpc/single.hpp"
#include "min_sum_scalar.hpp"
#include "test_ldpc.hpp"

namespace ldpc_test {
namespace {

constexpr unsigned kKinds = 18;

// One block of LLRs that no channel gives, or of the zero codeword in noise: what it is does not matter to a linear code's decoder
// except where LLRs are 0 or at their limits.
void add_block(unsigned n, unsigned kind, Llrs& llr) {
    constexpr double kSigmas[] = {0.3, 0.5, 0.65, 0.75, 0.8, 0.9, 1.3};
    const auto uniform = [](int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); };
    std::normal_distribution<double> noise(1, kSigmas[kind % 7]);
    for (unsigned i = 0; i < n; ++i) {
        int value = 0;
        switch (kind) {
            case 0: value = 0; break;
            case 1: value = 127; break;
            case 2: value = -127; break;
            case 3: value = -128; break;
            case 4: value = i % 2 != 0 ? 127 : -128; break;
            case 5: value = i % 3 != 0 ? 0 : -1; break;
            case 6: value = uniform(-128, 127); break;
            case 7: value = uniform(-2, 2); break;
            case 8: value = uniform(0, 3) != 0 ? 31 : 0; break;
            case 9: value = uniform(0, 9) != 0 ? 127 : -128; break;
            case 10: value = uniform(0, 11) != 0 ? 20 : -20; break;
            default: {
                const double sigma = kSigmas[kind % 7];
                value = std::clamp(static_cast<int>(std::lround(4 / sigma / sigma * noise(rng))), -128, 127);
            }
        }
        llr.push_back(static_cast<std::int8_t>(value));
    }
}

struct Schedule {
    unsigned max_iterations;
    bool early_stop;
};

void check_single(const fl::Code& code, const Llrs& llr, Schedule schedule, const Result& wanted) {
    const std::size_t blocks = llr.size() / code.n;
    for (const featcodec::Isa isa : levels()) {
        const fl::single::Plan plan(code, isa);
        Result got(code, blocks);
        fl::single::decode(plan, llr, blocks, schedule.max_iterations, schedule.early_stop, got.out());
        expect(got == wanted, code, featcodec::isa_name(isa));
    }
}

void check_frames([[maybe_unused]] const fl::Code& code, [[maybe_unused]] const Llrs& llr, [[maybe_unused]] Schedule schedule,
                  [[maybe_unused]] const Result& wanted) {
#ifdef FEATCODEC_X86
    const std::size_t all = llr.size() / code.n;
    const fl::FramesTables tables(code);
    for (const featcodec::Isa isa : {featcodec::Isa::avx2, featcodec::Isa::avx512}) {
        if (!featcodec::isa_supported(isa)) continue;
        const fl::FramesKernel& kernel = isa == featcodec::Isa::avx2 ? fl::kFramesAvx2 : fl::kFramesAvx512;
        for (const std::size_t blocks : {std::size_t{1}, std::size_t{17}, std::size_t{64}, all}) {
            if (blocks > all) continue;
            Result got(code, blocks);
            fl::decode_min_sum_frames(kernel, tables, std::span(llr).first(blocks * code.n), blocks, schedule.max_iterations, schedule.early_stop, got.out());
            expect(got == wanted.first(code, blocks), code, isa == featcodec::Isa::avx2 ? "avx2, across blocks" : "avx512, across blocks");
        }
    }
#endif
}

void check(const fl::Code& code, std::size_t blocks) {
    Llrs llr;
    for (std::size_t b = 0; b < blocks; ++b) add_block(code.n, static_cast<unsigned>((b + b / kKinds) % kKinds), llr);
    for (const Schedule schedule : {Schedule{1, true}, Schedule{2, false}, Schedule{7, true}, Schedule{3, true}}) {
        Result wanted(code, blocks);
        fl::decode_min_sum_scalar(code, llr, blocks, schedule.max_iterations, schedule.early_stop, wanted.out());
        check_single(code, llr, schedule, wanted);
        check_frames(code, llr, schedule, wanted);
    }
}

}  // namespace

void test_min_sum() {
    for (const unsigned n : kLengths) {
        for (const fl::Rate rate : kRates) {
            const unsigned k = wifi_info_bits(n, rate);
            check(fl::wifi_code(n, rate, k), n == 648 && rate == fl::Rate::r12 ? 101 : kKinds);
            if (n != 1944) check(fl::wifi_code(n, rate, k - 13, k % 9), kKinds);
        }
    }
    check(fl::wifi_code(648, fl::Rate::r56, 1), 70);
    check(fl::wifi_code(1944, fl::Rate::r34, 500, 300), kKinds);
    // Repetition (1/500, 20/900, 400/4000), z below, at and above every vector's width, all rows and the fewest.
    constexpr unsigned kNr[][2] = {{1, 8}, {1, 500}, {8, 20}, {20, 900}, {63, 640}, {128, 256}, {320, 700}, {400, 4000}, {513, 700}, {640, 2000},
                                   {1024, 1100}, {1300, 3000}, {2560, 3000}};
    for (const auto& [k, n] : kNr) check(fl::nr_code(k, n), k < 30 ? 70 : kKinds);
    check(fl::nr_code(8448, 9000), 3);
    check(fl::nr_code(3840, 19000), 3);
    std::uniform_real_distribution<double> log_k(0, 7), expansion(1.05, 5);
    for (unsigned i = 0; i < 12; ++i) {
        const unsigned k = 1 + static_cast<unsigned>(std::exp(log_k(rng)));
        check(fl::nr_code(k, k + 4 + static_cast<unsigned>(k * (expansion(rng) - 1))), kKinds);
    }
}

}  // namespace ldpc_test
