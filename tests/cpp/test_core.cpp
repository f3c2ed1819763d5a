// The core by itself, for sanitizers: round trips of every family, width and shape on every instruction set, and their streams
// cut, flipped and replaced. `make sanitize` runs it; it ends with status 0 and one line, or aborts. With a number N every Nth
// case alone is run: 7 meets every family, width, shape and sort of input, as it divides none of their counts.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <queue>
#include <random>
#include <vector>

#include "cpu.hpp"
#include "decode_any.hpp"
#include "feature.hpp"
#include "order0/order0.hpp"
#include "prior/prior.hpp"
#include "test_threads.hpp"
#include "threads.hpp"
#include "transform_cases.hpp"

namespace fc = featcodec;

namespace {

std::mt19937 rng(1);

std::vector<float> feature(const fc::ContextShape& shape, unsigned sort) {
    std::vector<float> x(shape.maps * shape.height * shape.width);
    std::normal_distribution<float> normal;
    float last = 0.0f;
    if (sort == 4) {  // slopes: what a prediction pays for
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto row = static_cast<float>(i / shape.width % shape.height);
            x[i] = 3.0f * row + static_cast<float>(i % shape.width) + 0.2f * normal(rng);
        }
        return x;
    }
    for (float& value : x) {
        last = 0.8f * last + normal(rng);
        value = sort == 0 ? std::max(0.0f, last) : sort == 1 ? last : sort == 2 ? 3.0f : (rng() % 97 == 0 ? 5.0f : 0.0f);
    }
    return x;
}

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::abort();
}

std::vector<std::uint8_t> round_trip(const fc::FeatureCoder& coder, const fc::ContextShape& shape, std::span<const float> x) {
    std::vector<std::uint8_t> first;
    std::vector<float> values;
    for (const fc::Isa isa : fc::kAllIsas) {
        if (!fc::set_isa(isa)) continue;
        const fc::Encoded encoded = fc::feature_encode(coder, {x.data(), x.size(), fc::FloatType::float32}, 1, shape);
        expect(encoded.not_finite == fc::kNoSample, "finite input is encoded");
        if (isa == fc::Isa::scalar) first = encoded.payloads[0];
        expect(encoded.payloads[0] == first, "every instruction set writes the same bytes");
        for (const bool amd : {false, true}) {
            fc::set_amd(amd);
            std::vector<float> y(x.size());
            const std::span<const std::uint8_t> payloads[] = {first};
            expect(fc::feature_decode(coder, payloads, shape, {y.data(), y.size(), fc::FloatType::float32}) == fc::Status::ok, "what was encoded decodes");
            if (values.empty()) values = y;
            expect(y == values, "all kernels read the same values");
        }
    }
    return first;
}

// Bits that the best code without a limit to its lengths takes: every node's weight, once for each level above it.
std::uint64_t least_bits(const fc::ByteCounts& counts) {
    std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> nodes;
    for (const std::uint32_t count : counts) {
        if (count > 0) nodes.push(count);
    }
    std::uint64_t bits = 0;
    while (nodes.size() > 1) {
        std::uint64_t both = nodes.top();
        nodes.pop();
        both += nodes.top();
        nodes.pop();
        nodes.push(both);
        bits += both;
    }
    return bits;
}

// Huffman codes of one to 256 bytes, of counts from all alike to a length beyond the limit: complete, the best there are where the
// limit does not bind, and as their table says.
void huffman_codes() {
    for (unsigned round = 0; round < 3000; ++round) {
        fc::ByteCounts counts = {};
        const unsigned distinct = 2 + rng() % 255;
        const unsigned spread = rng() % 30;  // bits of the largest counts
        for (unsigned i = 0; i < distinct; ++i) counts[rng() % 256] = 1 + (rng() >> (31 - rng() % (spread + 1)));
        counts[rng() % 128] += 1;
        counts[128 + rng() % 128] += 1;
        fc::HuffmanCode code;
        fc::huffman8_build(counts, code);
        std::uint64_t bits = 0;
        unsigned kraft = 0;
        unsigned occur = 0;
        for (unsigned symbol = 0; symbol < 256; ++symbol) {
            const unsigned length = code.lengths[symbol];
            expect((length != 0) == (counts[symbol] != 0) && length <= code.longest, "every byte that occurs has a code, no other has");
            if (length == 0) continue;
            bits += std::uint64_t{counts[symbol]} * length;
            kraft += 1u << (fc::kHuffmanMaxLength - length);
            ++occur;
        }
        expect(kraft == 1u << fc::kHuffmanMaxLength && occur == code.distinct, "a code is complete");
        const bool exact = *std::max_element(std::begin(counts), std::end(counts)) < 1u << 16;  // larger counts are rounded
        expect(bits >= least_bits(counts) && (!exact || code.longest == fc::kHuffmanMaxLength || bits == least_bits(counts)), "a code is the best there is");
        std::uint8_t table[fc::kHuffman8TableBound];
        const std::size_t size = fc::huffman8_write_table(code, 8, table);
        fc::HuffmanCode read;
        std::size_t used = 0;
        expect(fc::huffman8_read_table({table, size}, 8, read, used) == fc::Status::ok && used == size, "a table reads as it was written");
        expect(std::equal(code.lengths, code.lengths + 256, read.lengths) && std::equal(code.words, code.words + 256, read.words) &&
                   std::equal(code.order, code.order + code.distinct, read.order), "a table tells the code");
    }
}

void damage(const fc::FeatureCoder& coder, const fc::ContextShape& shape, const std::vector<std::uint8_t>& payload, unsigned rounds) {
    const std::vector<std::uint8_t> head = feature_head(coder, shape);
    for (unsigned round = 0; round < rounds; ++round) {
        std::vector<std::uint8_t> bad = head;
        bad[6] = static_cast<std::uint8_t>(rng());
        bad[2] = static_cast<std::uint8_t>(bad[2] | (rng() & 4));
        const std::size_t kept = round % 3 == 0 ? rng() % (payload.size() + 1) : payload.size();
        bad.insert(bad.end(), payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(kept));
        for (unsigned flips = round % 3 == 0 ? 0 : 1 + rng() % 3; flips > 0 && bad.size() > 8; --flips) {
            bad[8 + rng() % (bad.size() - 8)] ^= static_cast<std::uint8_t>(1u << rng() % 8);
        }
        decode_any(bad.data(), bad.size());
    }
    for (unsigned round = 0; round < rounds; ++round) {
        std::vector<std::uint8_t> rubbish(8 + rng() % 200);
        std::generate(rubbish.begin(), rubbish.end(), [] { return static_cast<std::uint8_t>(rng()); });
        decode_any(rubbish.data(), rubbish.size());
        if (round % 5 == 0) decode_ldpc(rubbish.data(), rubbish.size());
    }
}

// Integers by tables from flat to one entry that takes nearly everything, outliers among them; then their bytes damaged.
void prior_round_trips() {
    constexpr std::size_t kEntries = fc::kPriorWindow + 1;
    for (unsigned round = 0; round < 2000; ++round) {
        const std::size_t maps = rng() % 4;
        std::vector<std::int64_t> frequencies(maps * kEntries), first(maps), integers(maps * (rng() % 60));
        for (std::size_t map = 0; map < maps; ++map) {
            std::int64_t left = 65536;
            for (std::size_t k = 1; k < kEntries; ++k) {
                frequencies[map * kEntries + k] = 1 + static_cast<std::int64_t>(rng() % (round % 2 == 0 ? 2 : 1000));
                left -= frequencies[map * kEntries + k];
            }
            frequencies[map * kEntries] = left;
            std::swap(frequencies[map * kEntries], frequencies[map * kEntries + rng() % kEntries]);
            first[map] = static_cast<std::int64_t>(rng() % 66000) - 33000;
        }
        for (std::size_t i = 0; i < integers.size(); ++i) {
            const std::int64_t near = first[i * maps / integers.size()] + static_cast<std::int64_t>(rng() % fc::kPriorWindow);
            integers[i] = rng() % 8 != 0 ? near : static_cast<std::int64_t>(rng() % (2 * fc::kPriorLimit + 1)) - fc::kPriorLimit;
        }
        const fc::PriorTables tables{frequencies, first};
        std::vector<std::uint8_t> bytes(fc::prior_bound(integers.size()));
        std::size_t size = 0;
        expect(fc::prior_encode(tables, integers, bytes, size) == fc::Status::ok, "integers are encoded");
        bytes.resize(size);
        std::vector<std::int64_t> back(integers.size());
        expect(fc::prior_decode(tables, bytes, back) == fc::Status::ok && back == integers, "integers come back");
        for (unsigned flips = 0; flips < 4 && !bytes.empty(); ++flips) {
            bytes[rng() % bytes.size()] ^= static_cast<std::uint8_t>(1u << rng() % 8);
            static_cast<void>(fc::prior_decode(tables, bytes, back));
            bytes.resize(bytes.size() - rng() % 2);
        }
    }
}

// What every instruction set makes of a payload; ok where it is one.
bool transform_decodes(const fc::TransformCoder& coder, const fc::TransformGrid& grid, std::span<const std::uint8_t> payload, std::size_t values) {
    std::vector<float> first(values), x(values);
    fc::Status status{};
    for (const fc::Isa isa : fc::kAllIsas) {
        if (!fc::set_isa(isa)) continue;
        const std::span<const std::uint8_t> payloads[] = {payload};
        const fc::Status own = coder.decode(payloads, grid, x);
        if (isa == fc::Isa::scalar) {
            status = own;
            first = x;
        }
        expect(own == status && (own != fc::Status::ok || x == first), "every instruction set reads the same of a transform's payload");
    }
    return status == fc::Status::ok;
}

void transform_round_trip(std::size_t number, const fc::TransformCoder& coder, unsigned quality) {
    const TransformCase& of = kTransformCases[number];
    const fc::TransformGrid grid = fc::transform_grid(of.shape, of.height, of.width);
    const std::vector<float> x = transform_feature(of, 1, quality);
    std::vector<std::uint8_t> payload;
    for (const fc::Isa isa : fc::kAllIsas) {
        if (!fc::set_isa(isa)) continue;
        fc::TransformEncoded encoded = coder.encode(x, grid, quality);
        expect(encoded.finite, "finite features are transformed");
        if (isa == fc::Isa::scalar) payload = encoded.payloads[0];
        expect(encoded.payloads[0] == payload, "every instruction set transforms to the same bytes");
    }
    expect(transform_decodes(coder, grid, payload, x.size()), "a transform's payload comes back");
    for (unsigned flips = 0; flips < 6 && !payload.empty(); ++flips) {
        payload[rng() % payload.size()] ^= static_cast<std::uint8_t>(1u << rng() % 8);
        static_cast<void>(transform_decodes(coder, grid, payload, x.size()));
        payload.resize(payload.size() - rng() % 2);
    }
}

void transform_round_trips(unsigned share) {
    unsigned number = 0;
    for (std::size_t i = 0; i < std::size(kTransformCases); ++i) {
        const auto coder = transform_coder(kTransformCases[i], i);
        for (const unsigned quality : {0u, 25u, 50u, 75u, 100u}) {
            if (number++ % share == 0) transform_round_trip(i, *coder, quality);
        }
    }
}

// The fewest symbols, more or less, from which on rANS has 16, 32, 64 and 128 lanes, context coding 64, and Huffman segments of 16 KB.
struct Large {
    fc::Family family;
    fc::ContextShape shape;
};
constexpr Large kLarge[] = {
    {fc::Family::rans, {40, 30, 28}},     {fc::Family::rans, {84, 40, 40}},    {fc::Family::rans, {64, 104, 40}}, {fc::Family::rans, {320, 83, 40}},
    {fc::Family::huffman, {72, 101, 40}}, {fc::Family::context, {68, 52, 40}},
};

}  // namespace

int main(int argc, char** argv) {
    const unsigned share = argc > 1 ? static_cast<unsigned>(std::max(1, std::atoi(argv[1]))) : 1;
    const fc::ContextShape shapes[] = {{1, 1, 1}, {1, 1, 37}, {3, 1, 9}, {8, 7, 5}, {70, 3, 4}, {40, 13, 11}, {64, 16, 16}, {1, 40, 40}, {16, 40, 40}};
    unsigned number = 0, cases = 0;
    small_stacks();
    if (share == 1) forked_children();  // a share of the tests runs under emulation, where the fork of a process with threads cannot start any
    nested_tasks();
    turns_in_order();
    shared_samples(share);
    huffman_codes();
    prior_round_trips();
    transform_round_trips(share);
    fc::set_num_threads(3);
    for (const fc::Family family : {fc::Family::packed, fc::Family::huffman, fc::Family::rans, fc::Family::context, fc::Family::automatic}) {
        for (const unsigned bits : {1u, 2u, 3u, 4u, 5u, 6u, 8u, 9u, 12u, 16u}) {
            for (const fc::ContextShape& shape : shapes) {
                for (unsigned sort = 0; sort < 5; ++sort, ++number) {
                    if (number % share != 0) continue;
                    fc::FeatureCoder coder;
                    coder.family = family;
                    coder.bits = bits;
                    coder.per_map = (number & 1) != 0;
                    coder.step = number / 5 % 4 == 3 ? 0.01f * static_cast<float>(bits) : 0.0f;
                    const std::vector<float> x = feature(shape, sort);
                    damage(coder, shape, round_trip(coder, shape, x), 6);
                    ++cases;
                }
            }
        }
    }
    for (const Large& large : kLarge) {
        for (const unsigned bits : {2u, 5u, 6u, 8u}) {
            if (number++ % share != 0) continue;
            fc::FeatureCoder coder;
            coder.family = large.family;
            coder.bits = bits;
            damage(coder, large.shape, round_trip(coder, large.shape, feature(large.shape, 1)), 2);
            ++cases;
        }
    }
    // A batch large enough to wake the threads.
    const fc::ContextShape shape{32, 20, 20};
    std::vector<float> batch;
    for (unsigned i = 0; i < 9; ++i) {
        const std::vector<float> x = feature(shape, i % 2);
        batch.insert(batch.end(), x.begin(), x.end());
    }
    const fc::FeatureCoder coder;
    const fc::Encoded encoded = fc::feature_encode(coder, {batch.data(), batch.size(), fc::FloatType::float32}, 9, shape);
    std::vector<std::span<const std::uint8_t>> payloads(encoded.payloads.begin(), encoded.payloads.end());
    std::vector<float> y(batch.size());
    expect(fc::feature_decode(coder, payloads, shape, {y.data(), y.size(), fc::FloatType::float32}) == fc::Status::ok, "a batch decodes on threads");
    std::printf("%u cases passed on instruction sets up to %s\n", cases, fc::isa_name(fc::best_isa()));
    return 0;
}
