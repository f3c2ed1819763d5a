// The Coder: every instruction set and number of threads gives the same, a batch gives what its blocks give alone, and a Coder that
// several threads use for the first time at once makes each of its plans once.
#include <algorithm>
#include <thread>

#include "ldpc/coder.hpp"
#include "test_ldpc.hpp"
#include "threads.hpp"

namespace ldpc_test {
namespace {

// All that a Coder gives for one batch.
struct Answers {
    Bytes sent;
    std::vector<std::uint32_t> weight;
    Result min_sum, fixed, erasure, packed, sum_product, floats;

    explicit Answers(const fl::Code& code, std::size_t blocks)
        : sent(blocks * bytes_of(code.n), 0xAA), weight(blocks, 9), min_sum(code, blocks), fixed(code, blocks), erasure(code, blocks), packed(code, blocks),
          sum_product(code, std::min(blocks, kFew)), floats(code, blocks) {}
    bool operator==(const Answers&) const = default;

    static constexpr std::size_t kFew = 9;  // sum-product is slow
};

struct Batch {
    std::size_t blocks;
    Bytes info, sent, erased;
    Llrs llr;
    std::vector<float> nats;
};

// Some blocks good, some with errors, some with more erasures than can be filled.
Batch batch(const fl::Code& code, std::size_t blocks) {
    Batch made;
    made.blocks = blocks;
    made.sent = send(code, blocks, made.info);
    Bits erased(blocks * code.n);
    const double limit = 1.0 - static_cast<double>(code.k) / code.n;
    for (std::size_t b = 0; b < blocks; ++b) {
        const Bytes one(made.sent.begin() + static_cast<std::ptrdiff_t>(b * bytes_of(code.n)), made.sent.begin() + static_cast<std::ptrdiff_t>((b + 1) * bytes_of(code.n)));
        const Llrs llr = receive(code, one, limit * static_cast<double>(b % 7) / 5, b % 4 == 1 ? 2 : 0);
        made.llr.insert(made.llr.end(), llr.begin(), llr.end());
    }
    std::transform(made.llr.begin(), made.llr.end(), erased.begin(), [](std::int8_t l) { return l == 0; });
    made.erased = pack(erased, code.n);
    made.nats.assign(made.llr.begin(), made.llr.begin() + static_cast<std::ptrdiff_t>(std::min(blocks, Answers::kFew) * code.n));
    return made;
}

Answers ask(const fl::Coder& coder, const Batch& batch) {
    const fl::Code& code = coder.code();
    Answers answers(code, batch.blocks);
    Bytes mother(batch.blocks * bytes_of(code.mother_bits()));
    coder.encode(batch.info, answers.sent, batch.blocks);
    coder.encode_mother(batch.info, mother, batch.blocks);
    coder.syndrome_weight(mother, answers.weight, batch.blocks);
    coder.decode_min_sum(batch.llr, batch.blocks, 8, true, answers.min_sum.out());
    coder.decode_min_sum(batch.llr, batch.blocks, 3, false, answers.fixed.out());
    coder.decode_erasure(batch.llr, batch.blocks, answers.erasure.out());
    coder.decode_erasure_packed(batch.sent, batch.erased, batch.blocks, answers.packed.out());
    std::vector<float> halves(batch.llr.begin(), batch.llr.end());
    for (float& llr : halves) llr /= fl::kLlrScale;
    coder.decode_min_sum(halves, batch.blocks, 8, true, answers.floats.out());
    expect(answers.floats == answers.min_sum, code, "min-sum of LLRs in nats is that of their steps");
    coder.decode_erasure(halves, batch.blocks, answers.floats.out());
    expect(answers.floats == answers.erasure, code, "erasures among LLRs in nats");
    coder.decode_sum_product(batch.nats, std::min(batch.blocks, Answers::kFew), 5, true, answers.sum_product.out());
    return answers;
}

void check(const fl::Code& code, std::size_t blocks) {
    const Batch all = batch(code, blocks);
    featcodec::set_num_threads(1);
    featcodec::set_isa(featcodec::Isa::scalar);
    const fl::Coder coder(code);
    const Answers wanted = ask(coder, all);
    expect(wanted.sent == all.sent && wanted.weight == std::vector<std::uint32_t>(blocks), code, "the Coder encodes");
    for (const featcodec::Isa isa : levels()) {
        featcodec::set_isa(isa);
        for (const unsigned threads : {1u, 3u}) {
            featcodec::set_num_threads(threads);
            expect(ask(coder, all) == wanted, code, featcodec::isa_name(isa));
        }
    }
    for (const std::size_t count : {std::size_t{1}, std::size_t{31}, blocks - 1}) {
        if (count > blocks) continue;
        Result part(code, count);
        coder.decode_min_sum(std::span(all.llr).first(count * code.n), count, 8, true, part.out());
        expect(part == wanted.min_sum.first(code, count), code, "a block's result does not depend on its batch");
    }
    featcodec::reset_isa();
    featcodec::set_num_threads(1);
}

void check_first_use(const fl::Code& code) {
    const Batch all = batch(code, 6);
    const Answers wanted = ask(fl::Coder(code), all);
    for (unsigned round = 0; round < 3; ++round) {
        const fl::Coder coder(code);
        std::vector<Answers> answers(4, Answers(code, 6));
        std::vector<std::thread> threads;
        for (Answers& mine : answers) threads.emplace_back([&] { mine = ask(coder, all); });
        for (std::thread& thread : threads) thread.join();
        for (const Answers& answer : answers) expect(answer == wanted, code, "threads share a Coder");
    }
}

}  // namespace

void test_coder() {
    check(fl::wifi_code(648, fl::Rate::r12, 324), 201);
    check(fl::wifi_code(648, fl::Rate::r34, 301, 17), 64);
    check(fl::wifi_code(1944, fl::Rate::r56, 1620), 70);
    check(fl::nr_code(100, 320), 400);
    check(fl::nr_code(400, 800), 57);
    check(fl::nr_code(2000, 2900), 33);
    check(fl::nr_code(7, 9), 2);
    check_first_use(fl::wifi_code(648, fl::Rate::r12, 324));
    check_first_use(fl::nr_code(400, 900));
    // No blocks at all.
    const fl::Coder coder(fl::nr_code(40, 90));
    Result none(coder.code(), 0);
    coder.decode_min_sum(std::span<const std::int8_t>{}, 0, 5, true, none.out());
    coder.decode_erasure(std::span<const std::int8_t>{}, 0, none.out());
    coder.decode_erasure_packed({}, {}, 0, none.out());
    coder.decode_sum_product({}, 0, 5, true, none.out());
    coder.decode_min_sum(std::span<const float>{}, 0, 5, true, none.out());
    coder.encode({}, {}, 0);
}

}  // namespace ldpc_test
