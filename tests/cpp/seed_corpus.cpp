// Writes what `make fuzz` begins with: seed_corpus STREAMS BLOCKS. Into STREAMS what the encoders write, small and at the sizes from which
// coders take their most lanes; into BLOCKS LDPC blocks for every task. Each on several choices of kernels.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "cpu.hpp"
#include "decode_any.hpp"
#include "transform_cases.hpp"

namespace fc = featcodec;

namespace {

std::mt19937 rng(1);

// For choose_kernels: kAllIsas, then AVX-512 as on AMD's processors; the second of them with VBMI.
constexpr std::uint8_t kKernels[] = {0, 1, 2, 3, 4, 132, 133};
constexpr std::uint8_t kFewKernels[] = {1, 2, 133};  // where an input takes long

void write(const std::string& folder, std::vector<std::uint8_t> input, std::span<const std::uint8_t> choices = kKernels) {
    static unsigned number = 0;
    for (const std::uint8_t kernels : choices) {
        input[6] = kernels;
        std::ofstream file(folder + "/seed" + std::to_string(number++), std::ios::binary);
        file.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
        if (!file.flush()) std::exit(1);
    }
}

// Mostly zeros, one in `rarity` a step or a few: streams of many symbols stay short.
void write_features(const std::string& folder, fc::FeatureCoder coder, const fc::ContextShape& shape, unsigned rarity) {
    std::vector<float> x(shape.maps * shape.height * shape.width);
    for (float& value : x) value = rng() % rarity == 0 ? static_cast<float>(1 + rng() % 7) : 0.0f;
    const fc::Encoded encoded = fc::feature_encode(coder, {x.data(), x.size(), fc::FloatType::float32}, 1, shape);
    std::vector<std::uint8_t> input = feature_head(coder, shape);
    input.insert(input.end(), encoded.payloads[0].begin(), encoded.payloads[0].end());
    const bool large = x.size() > 30000;
    write(folder, input, large ? std::span<const std::uint8_t>(kFewKernels) : kKernels);
}

void write_streams(const std::string& folder) {
    for (const fc::Family family : {fc::Family::packed, fc::Family::huffman, fc::Family::rans, fc::Family::context, fc::Family::automatic}) {
        for (const unsigned bits : {1u, 3u, 6u, 8u, 12u}) {
            fc::FeatureCoder coder;
            coder.family = family;
            coder.bits = bits;
            coder.per_map = bits % 2 == 0;
            write_features(folder, coder, {4, 9, 7}, 3);
            coder.per_map = false;
            coder.step = bits == 3 ? 0.25f : 0.0f;
            coder.model = static_model(family, fc::static_bits(coder));
            write_features(folder, coder, {16, 12, 10}, 5);
        }
    }
    fc::FeatureCoder coder;
    coder.family = fc::Family::huffman;
    write_features(folder, coder, {72, 101, 40}, 300);  // segments of 16 KB, from 2^18 bytes on
    for (const unsigned bits : {5u, 8u}) {
        coder.bits = bits;
        coder.family = fc::Family::rans;
        for (const fc::ContextShape& shape : {fc::ContextShape{40, 30, 28}, {84, 40, 40}, {64, 104, 40}, {320, 83, 40}}) {  // 16, 32, 64, 128 lanes
            write_features(folder, coder, shape, 300);
        }
        coder.family = fc::Family::context;
        write_features(folder, coder, {68, 52, 40}, 7);  // 64 lanes
    }
}

void write_transforms(const std::string& folder) {
    for (std::size_t number = 0; number < kSmallTransforms; ++number) {
        const TransformCase& of = kTransformCases[number];
        const auto coder = transform_coder(of, number);
        const std::vector<float> x = transform_feature(of, 1, number);
        for (const unsigned quality : {20u, 60u, 90u}) {
            const fc::TransformEncoded encoded = coder->encode(x, fc::transform_grid(of.shape, of.height, of.width), quality);
            std::vector<std::uint8_t> input = transform_head(number);
            input.insert(input.end(), encoded.payloads[0].begin(), encoded.payloads[0].end());
            write(folder, input, kFewKernels);
        }
    }
}

void write_blocks(const std::string& folder) {
    for (unsigned task = 0; task < 32; ++task) {  // both standards, early stop or not
        for (unsigned size = 16; size <= 256; size *= 4) {
            std::vector<std::uint8_t> input(8 + size);
            for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(rng() % 3 == 0 ? 0 : rng());
            input[0] = static_cast<std::uint8_t>(task | rng() % 8 << 5);
            write(folder, input);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: seed_corpus STREAMS BLOCKS\n");
        return 2;
    }
    write_streams(argv[1]);
    write_transforms(argv[1]);
    write_blocks(argv[2]);
    return 0;
}
