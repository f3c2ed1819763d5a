// Sum-product in float: the layer against the tanh rule in double, its builds against each other, whole blocks, hostile LLRs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>

#include "ldpc/sum_product.hpp"
#include "ldpc/sum_product_kernel.hpp"
#include "test_ldpc.hpp"

namespace ldpc_test {
namespace {

std::vector<fl::LayerFunction> layers() {
    std::vector<fl::LayerFunction> all = {fl::sum_product_layer_scalar};
#ifdef FEATCODEC_X86
    if (featcodec::isa_supported(featcodec::Isa::avx2)) all.push_back(fl::sum_product_layer_avx2);
    if (featcodec::isa_supported(featcodec::Isa::avx512)) all.push_back(fl::sum_product_layer_avx512);
#endif
    return all;
}

// The builds give the same bits, posteriors and messages, whatever they start from.
void check_layer(unsigned z, unsigned degree, float strength) {
    const unsigned padded = (z + 15) / 16 * 16;
    std::vector<fl::LayerEdge> edges;
    for (unsigned j = 0; j < degree; ++j) edges.push_back({j * z, static_cast<std::uint32_t>(rng() % z), j * padded});
    std::normal_distribution<float> value(0, strength);
    std::vector<float> posterior(degree * z), messages(degree * padded), scratch((3 * degree + 2) * padded);
    for (auto& x : posterior) x = rng() % 8 != 0 ? value(rng) : 0.f;
    for (auto& x : messages) x = rng() % 8 != 0 ? std::clamp(value(rng), -30.f, 30.f) : -0.f;
    std::vector<float> wanted_posterior, wanted_messages;
    for (const fl::LayerFunction layer : layers()) {
        std::vector<float> p = posterior, m = messages;
        layer(edges.data(), degree, z, padded, p.data(), m.data(), scratch.data());
        if (wanted_messages.empty()) {
            wanted_posterior = p;
            wanted_messages = m;
            expect(std::all_of(m.begin(), m.end(), [](float x) { return std::abs(x) <= 30.01f; }), "messages stay within 30 nats");
        }
        expect(std::memcmp(p.data(), wanted_posterior.data(), 4 * p.size()) == 0, "layers leave the same posteriors");
        expect(std::memcmp(m.data(), wanted_messages.data(), 4 * m.size()) == 0, "layers leave the same messages");
    }
}

void check_tanh_rule(double strength) {
    constexpr unsigned kDegree = 5, kZ = 64;
    std::vector<fl::LayerEdge> edges;
    for (unsigned j = 0; j < kDegree; ++j) edges.push_back({j * kZ, 7 * j, j * kZ});
    std::normal_distribution<float> value(0, static_cast<float>(strength));
    std::vector<float> before(kDegree * kZ), messages(kDegree * kZ), scratch((3 * kDegree + 2) * kZ);
    for (auto& x : before) x = std::clamp(value(rng), -30.f, 30.f);
    std::vector<float> posterior = before;
    fl::sum_product_layer_scalar(edges.data(), kDegree, kZ, kZ, posterior.data(), messages.data(), scratch.data());
    for (unsigned r = 0; r < kZ; ++r) {
        for (unsigned j = 0; j < kDegree; ++j) {
            double doubt = 0, sign = 1;  // 1 - the product of the others' tanh, combined without cancellation
            for (unsigned i = 0; i < kDegree; ++i) {
                if (i == j) continue;
                const double t = before[i * kZ + (r + 7 * i) % kZ], q = 2 / (1 + std::exp(std::abs(t)));
                doubt += q * (1 - doubt);
                sign = t < 0 ? -sign : sign;
            }
            const double wanted = sign * std::log((2 - doubt) / doubt), got = messages[j * kZ + r];
            expect(std::abs(got - wanted) < 1e-5 + 1e-5 * std::abs(wanted), "a message is the tanh rule's");
            const std::size_t bit = j * kZ + (r + 7 * j) % kZ;
            expect(std::abs(posterior[bit] - (before[bit] + wanted)) < 1e-4, "a posterior is the sum of what is known");
        }
    }
}

Result decode(const fl::Code& code, const std::vector<float>& llr, unsigned iterations, bool early_stop) {
    const std::size_t blocks = llr.size() / code.n;
    Result first(code, blocks);
    fl::decode_sum_product(featcodec::Isa::scalar, code, llr, blocks, iterations, early_stop, first.out());
    for (const featcodec::Isa isa : levels()) {
        Result other(code, blocks);
        fl::decode_sum_product(isa, code, llr, blocks, iterations, early_stop, other.out());
        expect(other == first, code, featcodec::isa_name(isa));
    }
    return first;
}

// Clean codewords decode at any strength of LLR, in one iteration where every bit is sent; noisy ones decode; a block's result is its own.
void check_blocks(const fl::Code& code) {
    constexpr std::size_t kBlocks = 3;
    const std::vector<std::uint8_t> all_ok(kBlocks, 1);
    Bytes info;
    const Bits x = unpack(send(code, kBlocks, info), code.n);
    for (const float strength : {code.family == fl::Family::wifi ? 1e-3f : 0.5f, 1.f, 30.f, 1e30f, std::numeric_limits<float>::infinity()}) {
        std::vector<float> llr;
        for (const auto bit : x) llr.push_back(bit != 0 ? -strength : strength);
        const Result r = decode(code, llr, 50, true);
        expect(r.bits == info && r.ok == all_ok, code, "clean blocks decode");
        expect(strength < 1 || code.family == fl::Family::nr || r.iterations == std::vector<std::uint16_t>(kBlocks, 1), code, "in one iteration");
    }
    std::normal_distribution<float> noise(0, 0.6f);
    std::vector<float> llr;
    for (const auto bit : x) llr.push_back(2 / 0.36f * ((bit != 0 ? -1.f : 1.f) + noise(rng)));
    const Result stopped = decode(code, llr, 50, true), fixed = decode(code, llr, 12, false);
    if (5 * code.k <= 3 * code.n) expect(stopped.bits == info && stopped.ok == all_ok, code, "noisy blocks decode");
    expect(fixed.iterations == std::vector<std::uint16_t>(kBlocks, 12), code, "all iterations are run where none may be saved");
    expect(decode(code, {llr.begin(), llr.begin() + code.n}, 50, true) == stopped.first(code, 1), code, "a block alone");
}

void check_hostile(const fl::Code& code) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
    for (unsigned kind = 0; kind < 8; ++kind) {
        std::vector<float> llr(code.n);
        for (unsigned i = 0; i < code.n; ++i) {
            const bool odd = i % 2 != 0;
            const float of[8] = {0.f, 3e38f, -3e38f, odd ? kInfinity : -kInfinity, kNan, static_cast<float>(static_cast<int>(rng() % 255) - 127),
                                 odd ? 1e-30f : -1e-30f, 1e-45f};
            llr[i] = of[kind];
        }
        const Result r = decode(code, llr, 10, true);
        expect(r.ok[0] <= 1 && r.iterations[0] >= 1 && r.iterations[0] <= 10, code, "hostile LLRs end in time");
        const bool zero = std::all_of(r.bits.begin(), r.bits.end(), [](auto v) { return v == 0; });
        if (kind == 0 || kind == 4) expect(r.ok[0] == 0 && zero, code, "nothing comes of nothing");
        if (kind == 1 && code.n > code.k + 100) expect(r.ok[0] == 1 && zero, code, "sure zeros are the zero codeword");
        if (code.k % 8 != 0) expect((r.bits.back() & (0xFF >> code.k % 8)) == 0, code, "padding is zero");
    }
}

void refuses(const std::function<void()>& call, const char* part) {
    try {
        call();
    } catch (const std::invalid_argument& e) {
        expect(std::string(e.what()).find(part) != std::string::npos, e.what());
        return;
    }
    expect(false, part);
}

void check_refusals() {
    const fl::Code code = fl::nr_code(400, 800);
    Result r(code, 1);
    const std::vector<float> llr(800);
    const auto run = [&](std::size_t llrs, unsigned iterations, const fl::Decoded& out) {
        fl::decode_sum_product(featcodec::Isa::scalar, code, std::span(llr).first(llrs), 1, iterations, true, out);
    };
    refuses([&] { run(800, 0, r.out()); }, "1..1000, got 0");
    refuses([&] { run(800, 1001, r.out()); }, "1..1000, got 1001");
    refuses([&] { run(799, 5, r.out()); }, "llr must hold 800, got 799");
    refuses([&] { run(800, 5, {r.bits, std::span(r.ok).first(0), r.iterations}); }, "ok must hold 1");
}

}  // namespace

void test_sum_product() {
    for (const unsigned z : {2u, 3u, 15u, 16u, 27u, 81u, 384u}) {
        for (const unsigned degree : {2u, 3u, 7u, 22u}) {
            for (const float strength : {1e-20f, 0.1f, 3.f, 100.f, 1e30f}) check_layer(z, degree, strength);
        }
    }
    for (const double strength : {0.3, 2.0, 12.0}) check_tanh_rule(strength);
    const fl::Code codes[] = {fl::wifi_code(648, fl::Rate::r12, 324), fl::wifi_code(1944, fl::Rate::r56, 1600), fl::nr_code(400, 800),
                              fl::nr_code(20, 100), fl::nr_code(4096, 8192), fl::nr_code(64, 2000)};
    for (const fl::Code& code : codes) check_blocks(code);
    const fl::Code odd[] = {fl::wifi_code(648, fl::Rate::r12, 324), fl::wifi_code(1296, fl::Rate::r34, 5), fl::nr_code(400, 800),
                            fl::nr_code(1, 90), fl::nr_code(3, 3), fl::nr_code(8448, 8448)};
    for (const fl::Code& code : odd) check_hostile(code);
    check_refusals();
}

}  // namespace ldpc_test
