// What the core computes, as text: one line a case with a checksum of the bytes or floats that came out, over fixed inputs, on one
// instruction set. Builds for different processors, and their instruction sets, must print the same lines; `make test-neon` compares
// them. The inputs are made with integers and exact float operations only: no library function that may differ between machines.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "cpu.hpp"
#include "digest.hpp"
#include "feature.hpp"
#include "kernels.hpp"
#include "ldpc/coder.hpp"
#include "threads.hpp"

#if defined(FEATCODEC_X86)
#include <xmmintrin.h>
#endif

namespace fc = featcodec;

namespace {

using Bytes = std::vector<std::uint8_t>;

// ---- inputs --------------------------------------------------------------------------------------------------------------------
std::uint64_t seed = 1;

// splitmix64
std::uint32_t draw() {
    seed += 0x9E3779B97F4A7C15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 16);
}

enum Sort : unsigned { relu, signed_smooth, constant, sparse, ties, tiny, huge, any_bits, kSorts };
constexpr const char* kSortNames[] = {"relu", "signed", "constant", "sparse", "ties", "tiny", "huge", "any_bits"};

// Smooth in steps of 2^-12.
float smooth_value(std::int32_t& last) {
    std::int32_t noise = -4 * 32768;
    for (int i = 0; i < 8; ++i) noise += static_cast<std::int32_t>(draw() & 32767);
    last = last * 3 / 4 + noise / 16;
    return static_cast<float>(last) * 0x1p-12f;
}

std::vector<float> feature(std::size_t count, Sort sort) {
    std::vector<float> x(count);
    std::int32_t last = 0;
    for (float& value : x) {
        const float smooth = smooth_value(last);
        switch (sort) {
            case relu: value = smooth < 0 ? 0.0f : smooth; break;
            case signed_smooth: value = smooth; break;
            case constant: value = -1.75f; break;
            case sparse: value = draw() % 37 == 0 ? smooth : -0.0f; break;
            // Halves of 1 / 255 of a range that the ends force: what is rounded to even.
            case ties: value = static_cast<float>(draw() % 511) * 0.5f; break;
            case tiny: value = std::bit_cast<float>((draw() & 0x80000FFFu) | (draw() % 3 == 0 ? 0x00400000u : 0u)); break;
            case huge:
                value = std::bit_cast<float>((draw() & 0x807FFFFFu) | (draw() % 254 + 1) << 23);
                if (draw() % 5 == 0) value = value < 0 ? -0x1.FFFFFEp127f : 0x1.FFFFFEp127f;
                break;
            default: value = std::bit_cast<float>(draw()); break;
        }
    }
    if (sort == ties && count > 1) {
        x[0] = 0.0f;
        x[1] = 255.0f;
    }
    return x;
}

// float32 to float16, cut off; only what it gives matters, not how near it is.
std::uint16_t half_of(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t exponent = (bits >> 23) & 255u;
    if (exponent < 113) return static_cast<std::uint16_t>(sign | ((bits ^ bits >> 13) & 0x3FFu));  // some subnormal
    if (exponent == 255) return static_cast<std::uint16_t>(sign | 0x7C00u | ((bits >> 13) & 0x3FFu));
    if (exponent > 142) return static_cast<std::uint16_t>(sign | 0x7BFFu);
    return static_cast<std::uint16_t>(sign | (exponent - 112) << 10 | ((bits >> 13) & 0x3FFu));
}

constexpr fc::FloatType kTypes[] = {fc::FloatType::float32, fc::FloatType::float16, fc::FloatType::bfloat16};
constexpr const char* kTypeNames[] = {"float32", "float16", "bfloat16"};
constexpr std::size_t kTypeSizes[] = {4, 2, 2};

// The values as bytes of that type, at an odd address.
struct Values {
    Values(const std::vector<float>& x, unsigned type) : count(x.size()), kind(type), bytes(1 + x.size() * kTypeSizes[type]) {
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto word = std::bit_cast<std::uint32_t>(x[i]);
            const auto half = type == 1 ? half_of(x[i]) : static_cast<std::uint16_t>(word >> 16);
            if (type == 0) {
                std::memcpy(bytes.data() + 1 + 4 * i, &word, 4);
            } else {
                std::memcpy(bytes.data() + 1 + 2 * i, &half, 2);
            }
        }
    }
    fc::FloatSpan span() const { return {bytes.data() + 1, count, kTypes[kind]}; }

    std::size_t count;
    unsigned kind;
    Bytes bytes;
};

// ---- quantisers ------------------------------------------------------------------------------------------------------------------
template <class Symbol>
void print_minmax(const char* name, const Values& x, const fc::ValueRange& range, unsigned bits) {
    std::vector<Symbol> symbols(x.count);
    fc::quantize(x.span(), range.min, range.max, bits, std::span<Symbol>(symbols));
    std::printf("%s quantize%zu n=%u %08x", name, 8 * sizeof(Symbol), bits, digest_of(symbols));
    for (unsigned type = 0; type < 3; ++type) {
        Bytes out(1 + x.count * kTypeSizes[type]);
        fc::dequantize(std::span<const Symbol>(symbols), range.min, range.max, bits, {out.data() + 1, x.count, kTypes[type]});
        std::printf(" %s %08x", kTypeNames[type], digest_of(out));
    }
    std::printf("\n");
}

void print_step(const char* name, const Values& x, float step) {
    std::vector<std::int16_t> whole(x.count);
    const std::size_t outside = fc::quantize_step(x.span(), step, whole);
    std::vector<std::uint16_t> zigzagged(x.count);
    fc::zigzag(whole, zigzagged);
    std::vector<std::int16_t> back(x.count);
    fc::unzigzag(zigzagged, back);
    std::printf("%s step=%a %08x outside %zu zigzag %08x %s", name, static_cast<double>(step), digest_of(whole), outside,
                digest_of(zigzagged), back == whole ? "and back" : "NOT BACK");
    for (unsigned type = 0; type < 3; ++type) {
        Bytes out(1 + x.count * kTypeSizes[type]);
        fc::dequantize_step(whole, step, {out.data() + 1, x.count, kTypes[type]});
        std::printf(" %s %08x", kTypeNames[type], digest_of(out));
    }
    std::printf("\n");
}

void print_quantizers() {
    for (unsigned type = 0; type < 3; ++type) {
        for (unsigned sort = 0; sort < kSorts; ++sort) {
            for (const std::size_t count : {1u, 2u, 7u, 15u, 16u, 31u, 32u, 33u, 100u, 1000u, 40000u}) {
                const Values x(feature(count, static_cast<Sort>(sort)), type);
                char name[64];
                std::snprintf(name, sizeof name, "%s %s %zu", kTypeNames[type], kSortNames[sort], count);
                const fc::ValueRange range = fc::value_range(x.span());
                std::printf("%s range %a %a %d\n", name, static_cast<double>(range.min), static_cast<double>(range.max),
                            range.finite);
                for (const float step : {0.01f, 0.25f, 3.0f, 1e-38f, 1e30f}) print_step(name, x, step);
                if (!range.finite || !(range.min < range.max)) continue;
                for (unsigned bits = 1; bits <= 8; ++bits) print_minmax<std::uint8_t>(name, x, range, bits);
                for (const unsigned bits : {1u, 7u, 8u, 9u, 12u, 16u}) print_minmax<std::uint16_t>(name, x, range, bits);
            }
        }
    }
}

// ---- features to payloads and back ---------------------------------------------------------------------------------------------
constexpr const char* kFamilyNames[] = {"packed", "huffman", "rans", "context", "auto"};

// A static model as a codec has it: of counts over other features.
std::unique_ptr<fc::StaticModel> train(const fc::FeatureCoder& coder) {
    const fc::ContextShape shape{20, 12, 12};
    const std::size_t size = shape.maps * shape.height * shape.width;
    const Values x(feature(size, relu), 0);
    const auto counts = std::make_unique<fc::FeatureCounts>();
    if (!fc::feature_count(coder, x.span(), 1, shape, *counts)) std::abort();
    const fc::Order0Kernels& kernels = fc::current_kernels().order0;
    auto model = std::make_unique<fc::StaticModel>();
    model->bits = fc::static_bits(coder);
    const bool narrow = model->bits <= 8;
    if (coder.family == fc::Family::rans && narrow) {
        model->rans = std::make_unique<fc::RansStatic>();
        std::uint8_t table[fc::kCurve8TableBound];
        const std::size_t used = fc::curve8_train_static(counts->symbols, model->bits, table);
        if (fc::curve8_load_static(kernels, {table, used}, model->bits, *model->rans) != fc::Status::ok) std::abort();
    } else if (coder.family != fc::Family::context && narrow) {
        model->huffman = std::make_unique<fc::HuffmanStatic>();
        fc::huffman8_build_static(kernels, counts->coded, model->bits, *model->huffman);
    }
    if (coder.family == fc::Family::context || coder.family == fc::Family::automatic) {
        model->context = std::make_unique<fc::ContextModel>();
        const bool gradient = model->bits <= fc::kGradientBits && model->bits % 2 == 0;  // either neighbourhood, by the width
        const fc::ContextTables tables = gradient ? fc::context_train(counts->gradient, model->bits, fc::Neighbourhood::gradient)
                                                  : fc::context_train(counts->near, model->bits, fc::Neighbourhood::near);
        if (fc::context_model(tables, model->bits, true, *model->context) != fc::Status::ok) std::abort();
    }
    return model;
}

// The status of a damaged payload, and the floats where there are any.
std::uint32_t digest_damaged(const fc::FeatureCoder& coder, const fc::ContextShape& shape, Bytes payload, unsigned round) {
    if (round == 0) payload.resize(draw() % payload.size());
    for (unsigned i = 0; i < round && !payload.empty(); ++i) payload[draw() % payload.size()] ^= static_cast<std::uint8_t>(1u << draw() % 8);
    std::vector<float> y(shape.maps * shape.height * shape.width);
    const std::span<const std::uint8_t> payloads[] = {payload};
    const fc::Status status = fc::feature_decode(coder, payloads, shape, {y.data(), y.size(), fc::FloatType::float32});
    return status == fc::Status::ok ? digest_of(y) : static_cast<std::uint32_t>(status);
}

void print_feature(const char* name, const fc::FeatureCoder& coder, const Values& x, const fc::ContextShape& shape) {
    const fc::Encoded encoded = fc::feature_encode(coder, x.span(), 1, shape);
    const Bytes& payload = encoded.payloads[0];
    std::vector<float> y(x.count);
    const std::span<const std::uint8_t> payloads[] = {payload};
    const fc::Status status = fc::feature_decode(coder, payloads, shape, {y.data(), y.size(), fc::FloatType::float32});
    if (status != fc::Status::ok) std::abort();
    std::uint32_t damaged = 0;
    for (unsigned round = 0; round < 4; ++round) {
        const std::uint32_t seen = digest_damaged(coder, shape, payload, round);
        damaged = digest(&seen, sizeof seen, damaged);
    }
    const std::size_t groups = coder.step > 0 ? 0 : coder.per_map ? shape.maps : 1;
    const std::size_t mode = coder.step > 0 ? 1 : 8 * groups;
    std::printf("%s %zux%zux%zu mode %d: %zu bytes %08x, floats %08x, damaged %08x\n", name, shape.maps, shape.height, shape.width,
                mode < payload.size() ? payload[mode] : -1, payload.size(), digest_of(payload), digest_of(y), damaged);
}

void print_features(bool is_static) {
    const fc::ContextShape shapes[] = {{1, 1, 1}, {1, 1, 37}, {3, 7, 5}, {70, 3, 4}, {8, 13, 11}, {32, 8, 8}, {1, 60, 61}, {40, 20, 20}};
    unsigned cases = 0;
    for (unsigned family = 0; family < 5; ++family) {
        if (is_static && family == 0) continue;
        for (const unsigned bits : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 12u, 16u}) {
            for (const float step : {0.0f, 0.03125f * static_cast<float>(bits)}) {
                fc::FeatureCoder coder;
                coder.family = static_cast<fc::Family>(family);
                coder.bits = bits;
                coder.step = step;
                std::unique_ptr<fc::StaticModel> model;
                for (const fc::ContextShape& shape : shapes) {
                    ++cases;
                    coder.per_map = (cases & 1) != 0;
                    coder.zigzag = (cases & 2) != 0;
                    if (is_static) model = train(coder);
                    coder.model = model.get();
                    const unsigned type = cases % 3;
                    const auto sort = static_cast<Sort>(cases / 3 % 5);
                    const Values x(feature(shape.maps * shape.height * shape.width, sort), type);
                    char name[96];
                    std::snprintf(name, sizeof name, "%s n=%u step=%a %s %s %s%s", kFamilyNames[family], bits, static_cast<double>(step),
                                  is_static ? "static" : "adaptive", kTypeNames[type], kSortNames[sort], coder.per_map ? " by map" : "");
                    print_feature(name, coder, x, shape);
                }
            }
        }
    }
}

// Every number of rANS lanes and division into Huffman segments; a batch on threads.
void print_large() {
    for (const std::size_t width : {300u, 2000u, 10000u, 40000u, 140000u, 270000u}) {
        for (unsigned family = 0; family < 5; ++family) {
            for (const unsigned bits : {1u, 2u, 4u, 6u, 8u}) {
                fc::FeatureCoder coder;
                coder.family = static_cast<fc::Family>(family);
                coder.bits = bits;
                char name[64];
                std::snprintf(name, sizeof name, "%s n=%u large", kFamilyNames[family], bits);
                print_feature(name, coder, Values(feature(width, bits % 2 == 0 ? relu : signed_smooth), 0), {1, 1, width});
            }
        }
    }
    fc::set_num_threads(3);
    const Values batch(feature(9 * 12800, signed_smooth), 0);
    const fc::Encoded encoded = fc::feature_encode({}, batch.span(), 9, {32, 20, 20});
    for (const Bytes& payload : encoded.payloads) std::printf("batch: %zu bytes %08x\n", payload.size(), digest_of(payload));
}

// As torch.set_flush_denormal leaves the thread: subnormals are taken for zero and made zero.
void flush_subnormals() {
#if defined(FEATCODEC_X86)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(std::uint64_t{1} << 24));
#endif
}

void print_flushed() {
    flush_subnormals();
    for (unsigned type = 0; type < 3; ++type) {
        for (const unsigned bits : {3u, 8u, 12u}) {
            fc::FeatureCoder coder;
            coder.bits = bits;
            char name[64];
            std::snprintf(name, sizeof name, "%s n=%u flushed", kTypeNames[type], bits);
            print_feature(name, coder, Values(feature(1001, tiny), type), {7, 11, 13});
        }
    }
}

// ---- primitives ------------------------------------------------------------------------------------------------------------------
void print_primitives() {
    Bytes bytes(70000);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(draw());
    for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 63u, 503u, 504u, 505u, 12287u, 12288u, 69990u}) {
        for (const std::size_t start : {0u, 1u, 5u}) {
            std::printf("crc32c of %zu %08x\n", size, fc::crc32c({bytes.data() + start, size}, static_cast<std::uint32_t>(start)));
        }
    }
    // Any bytes: packing drops what a symbol has above `bits`.
    const fc::Order0Kernels& kernels = fc::current_kernels().order0;
    for (unsigned bits = 1; bits <= 4; ++bits) {
        for (const std::size_t count : {1u, 16u, 31u, 32u, 63u, 64u, 100u, 127u, 128u, 1000u}) {
            Bytes packed(fc::coded_bytes(count, bits));
            kernels.pack(bytes.data() + count, count, bits, packed.data());
            Bytes symbols(count);
            kernels.unpack(packed.data(), count, bits, symbols.data());
            std::printf("n=%u %zu bytes: packed %08x, unpacked %08x\n", bits, count, digest_of(packed), digest_of(symbols));
        }
    }
    for (unsigned bits = 1; bits <= 16; ++bits) {
        for (const std::size_t count : {1u, 2u, 9u, 1000u}) {
            std::vector<std::uint16_t> symbols(count);
            for (std::uint16_t& symbol : symbols) symbol = static_cast<std::uint16_t>((draw() & draw()) & ((1u << bits) - 1));
            Bytes packed(fc::packed_size(count, bits));
            fc::pack_bits(symbols, bits, packed);
            Bytes coded(fc::huffman_bound(count, bits));
            coded.resize(fc::huffman_encode(symbols, bits, coded));
            std::vector<std::uint16_t> back(count);
            const fc::Status status = fc::huffman_decode(coded, bits, back);
            const std::vector<std::uint32_t> wide(symbols.begin(), symbols.end());
            Bytes golomb(fc::golomb_bound(count));
            golomb.resize(fc::golomb_encode(wide, golomb));
            std::printf("n=%u %zu symbols: packed %08x, huffman %08x %s, golomb %08x\n", bits, count, digest_of(packed), digest_of(coded),
                        status == fc::Status::ok && back == symbols ? "and back" : "NOT BACK", digest_of(golomb));
        }
    }
}

// ---- LDPC ------------------------------------------------------------------------------------------------------------------------
// Ones and zeros as LLRs of 1..40 steps, mostly strong; of 256 bits so many are erased and so many wrong.
std::vector<std::int8_t> receive(const fc::ldpc::Code& code, const Bytes& sent, std::size_t blocks, unsigned erased, unsigned wrong) {
    const std::size_t stride = (code.n + 7) / 8;
    std::vector<std::int8_t> llr;
    for (std::size_t i = 0; i < blocks * code.n; ++i) {
        const bool one = (sent[i / code.n * stride + i % code.n / 8] >> (7 - i % code.n % 8) & 1) != 0;
        const bool flip = draw() % 256 < wrong;
        const int size = 1 + static_cast<int>(draw() % (flip ? 6 : 40));
        llr.push_back(static_cast<std::int8_t>(draw() % 256 < erased ? 0 : one == flip ? size : -size));
    }
    return llr;
}

struct Blocks {
    Blocks(const fc::ldpc::Code& code, std::size_t count) : bits(count * ((code.k + 7) / 8)), ok(count), iterations(count) {}
    fc::ldpc::Decoded out() { return {bits, ok, iterations}; }
    void print(const char* name) const {
        std::size_t good = 0;
        for (const std::uint8_t one : ok) good += one;
        std::printf(" %s %zu good %08x %08x %08x", name, good, digest_of(bits), digest_of(ok), digest_of(iterations));
    }

    Bytes bits, ok;
    std::vector<std::uint16_t> iterations;
};

// `noise` of 256 bits are erased; half as many are wrong, for the erasure decoder none.
void print_code(const fc::ldpc::Code& code, std::size_t count, unsigned noise) {
    const fc::ldpc::Coder coder(code);
    Bytes info(count * ((code.k + 7) / 8)), sent(count * ((code.n + 7) / 8)), mother(count * ((code.mother_bits() + 7) / 8));
    for (std::uint8_t& byte : info) byte = static_cast<std::uint8_t>(draw());
    coder.encode(info, sent, count);
    coder.encode_mother(info, mother, count);
    std::printf("%s k=%u n=%u %zu blocks: sent %08x mother %08x", code.family == fc::ldpc::Family::wifi ? "wifi" : "nr", code.k, code.n, count,
                digest_of(sent), digest_of(mother));
    const std::vector<std::int8_t> llr = receive(code, sent, count, noise, noise / 2), sure = receive(code, sent, count, 2 * noise, 0);
    const std::vector<float> nats(llr.begin(), llr.end());
    Blocks blocks(code, count);
    coder.decode_min_sum(llr, count, 6, true, blocks.out());
    blocks.print("min-sum");
    coder.decode_sum_product(nats, count, 3, true, blocks.out());
    blocks.print("sum-product");
    coder.decode_erasure(sure, count, blocks.out());
    blocks.print("erasure");
    coder.decode_erasure(llr, count, blocks.out());
    blocks.print("contradicted");
    std::printf("\n");
}

void print_llr_steps() {
    std::vector<float> llr(5003);
    for (float& one : llr) one = static_cast<float>(static_cast<int>(draw() % 4001) - 2000) / 16.0f;  // ties among them
    std::vector<std::int8_t> steps(llr.size());
    fc::ldpc::llr_steps(llr, steps);
    std::printf("LLR steps %08x\n", digest_of(steps));
}

void print_ldpc() {
    print_llr_steps();
    for (const unsigned noise : {8u, 24u, 50u, 64u}) {
        print_code(fc::ldpc::wifi_code(648, fc::ldpc::Rate::r12, 324), 5, noise);
        print_code(fc::ldpc::wifi_code(648, fc::ldpc::Rate::r56, 533, 9), 4, noise / 4);
        print_code(fc::ldpc::wifi_code(1296, fc::ldpc::Rate::r34, 900), 2, noise / 2);
        print_code(fc::ldpc::wifi_code(1944, fc::ldpc::Rate::r23, 1296), 2, noise / 2);
        print_code(fc::ldpc::nr_code(5, 40), 70, noise);
        print_code(fc::ldpc::nr_code(100, 300), 9, noise);
        print_code(fc::ldpc::nr_code(400, 800), 3, noise);
        print_code(fc::ldpc::nr_code(20, 900), 3, 2 * noise);
    }
    print_code(fc::ldpc::nr_code(4000, 7000), 1, 30);
    print_code(fc::ldpc::wifi_code(648, fc::ldpc::Rate::r12, 324), 200, 30);
}

}  // namespace

int main(int argc, char** argv) {
    fc::Isa isa = fc::best_isa();
    if (argc > 2 || (argc == 2 && !fc::parse_isa(argv[1], isa)) || !fc::set_isa(isa)) {
        std::fprintf(stderr, "usage: digest_core [an instruction set that this machine has]; its best is %s\n", fc::isa_name(fc::best_isa()));
        return 2;
    }
    print_primitives();
    print_quantizers();
    print_features(false);
    print_features(true);
    print_ldpc();
    print_transforms();
    print_large();
    print_flushed();
    return 0;
}
