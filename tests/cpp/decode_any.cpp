// See decode_any.hpp. Whatever the bytes are: a Status, bounded time, no access outside the spans.
#include "decode_any.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "cpu.hpp"
#include "feature.hpp"
#include "featcodec.hpp"
#include "kernels.hpp"
#include "prior/prior.hpp"
#include "transform_cases.hpp"

namespace fc = featcodec;

// Of a fixed training set, one for every family and width that occurs.
const fc::StaticModel* static_model(fc::Family family, unsigned bits) {
    static std::unique_ptr<fc::StaticModel> models[5][17];
    auto& slot = models[static_cast<unsigned>(family)][bits];
    if (slot) return slot.get();
    slot = std::make_unique<fc::StaticModel>();
    slot->bits = bits;
    const auto neighbourhood = bits <= fc::kGradientBits && bits % 2 == 0 ? fc::Neighbourhood::gradient : fc::Neighbourhood::near;
    fc::ContextCounts contexts{};
    for (std::size_t i = 0; i < contexts.size(); ++i) contexts[i] = static_cast<std::uint32_t>(i % 7);
    if (family != fc::Family::huffman && family != fc::Family::rans) {
        slot->context = std::make_unique<fc::ContextModel>();
        if (fc::context_model(fc::context_train(contexts, bits, neighbourhood), bits, true, *slot->context) != fc::Status::ok) std::abort();
    }
    if (family != fc::Family::context && bits <= 8) {
        fc::ByteCounts counts{};
        for (unsigned i = 0; i < fc::coded_alphabet(bits); ++i) counts[i] = 1 + i % 5;
        slot->huffman = std::make_unique<fc::HuffmanStatic>();
        fc::huffman8_build_static(fc::current_kernels().order0, counts, bits, *slot->huffman);
        fc::ByteCounts symbols{};
        for (unsigned i = 0; i < 1u << bits; ++i) symbols[i] = 1 + i % 5;
        slot->rans = std::make_unique<fc::RansStatic>();
        std::uint8_t table[fc::kCurve8TableBound];
        const std::size_t size = fc::curve8_train_static(symbols, bits, table);
        if (fc::curve8_load_static(fc::current_kernels().order0, {table, size}, bits, *slot->rans) != fc::Status::ok) std::abort();
    }
    return slot.get();
}

namespace {

// Nearly all inputs claim few symbols, so that thousands are tried a second. Large ones reach the most lanes of every coder, which are
// those of rANS, from 2^20 symbols on.
constexpr std::size_t kMostSymbols = (1u << 20) + (1u << 16);
constexpr std::uint8_t kLarge = 240;  // of the last byte
constexpr std::size_t kMaps = 80, kSide = 40, kLargeMaps = 4, kLargeHeight = 128;

fc::ContextShape shape_of(std::span<const std::uint8_t> head) {
    const bool large = head[7] >= kLarge;
    const std::size_t maps = 1 + head[3] % kMaps, height = 1 + head[4] % (large ? kLargeHeight : kSide), width = 1 + head[5] % kSide;
    return {large ? std::min(kLargeMaps * maps, kMostSymbols / (height * width)) : maps, height, width};
}

// Not initialised: under the sanitizers that takes as long as to decode.
using Values = std::unique_ptr<float[]>;

bool decode_payload(const fc::FeatureCoder& coder, std::span<const std::uint8_t> payload, const fc::ContextShape& shape, std::size_t count, Values& x) {
    const std::span<const std::uint8_t> payloads[] = {payload};
    x = std::make_unique_for_overwrite<float[]>(count);
    return fc::feature_decode(coder, payloads, shape, {x.get(), count, fc::FloatType::float32}) == fc::Status::ok;
}

// What every kernel reads is what the scalar ones read.
void decode_features(std::span<const std::uint8_t> head, std::span<const std::uint8_t> body) {
    fc::FeatureCoder coder;
    coder.family = static_cast<fc::Family>(head[0] % 5);
    coder.bits = 1 + head[1] % 16;
    coder.per_map = (head[2] & 1) != 0;
    coder.step = (head[2] & 2) != 0 ? 0.25f : 0.0f;
    if ((head[2] & 4) != 0) coder.model = static_model(coder.family, fc::static_bits(coder));
    const fc::ContextShape shape = shape_of(head);
    fc::FeatureParts parts;
    const bool read = fc::feature_parts(coder, body, shape, parts) == fc::Status::ok;
    if (read && parts.side_bits + parts.table_bits > 8 * std::uint64_t{body.size()}) std::abort();
    const std::size_t count = shape.maps * shape.height * shape.width;
    Values x, scalar;
    const bool decoded = decode_payload(coder, body, shape, count, x);
    if (fc::current_isa() != fc::Isa::scalar) {
        fc::set_isa(fc::Isa::scalar);
        if (decode_payload(coder, body, shape, count, scalar) != decoded) std::abort();
        if (decoded && std::memcmp(x.get(), scalar.get(), count * sizeof(float)) != 0) std::abort();
    }
    if (!decoded) return;
    if (!read) std::abort();
    for (std::size_t i = 0; i < count; ++i) {
        if (!std::isfinite(x[i])) std::abort();
    }
}

// Tables from nearly flat ones to an entry that takes nearly everything, and often the escape.
void decode_prior(std::span<const std::uint8_t> head, std::span<const std::uint8_t> body) {
    constexpr std::size_t kEntries = fc::kPriorWindow + 1;
    const std::size_t maps = 1 + head[1] % 4;
    std::vector<std::int64_t> frequencies(maps * kEntries, 1 + head[3] * 3), first(maps, std::int64_t{head[5]} * 300 - 38000);
    for (std::size_t map = 0; map < maps; ++map) {
        const std::size_t likely = (head[2] & 1) != 0 ? fc::kPriorWindow : (head[2] + map) % kEntries;
        frequencies[map * kEntries + likely] = 65536 - static_cast<std::int64_t>(fc::kPriorWindow) * (1 + head[3] * 3);
    }
    std::vector<std::int64_t> integers(maps * (1 + 4 * std::size_t{head[4]}));
    if (fc::prior_decode({frequencies, first}, body, integers) != fc::Status::ok) return;
    std::vector<std::uint8_t> again(fc::prior_bound(integers.size()));
    std::size_t size = 0;
    if (fc::prior_encode({frequencies, first}, integers, again, size) != fc::Status::ok || size > body.size()) std::abort();
}

// Of one coder for each, made when first asked for.
const fc::TransformCoder& transform_of(std::size_t number) {
    static std::unique_ptr<fc::TransformCoder> coders[kSmallTransforms];
    if (!coders[number]) coders[number] = transform_coder(kTransformCases[number], number);
    return *coders[number];
}

void decode_transform(std::span<const std::uint8_t> head, std::span<const std::uint8_t> body) {
    const std::size_t number = head[0] % kSmallTransforms;
    const fc::TransformCoder& coder = transform_of(number);
    const TransformCase& of = kTransformCases[number];
    const fc::TransformGrid grid = fc::transform_grid(of.shape, of.height + head[1] % 8, of.width + head[2] % 8);
    const std::span<const std::uint8_t> payloads[] = {body};
    const std::size_t values = of.shape.maps * grid.height * grid.width;
    std::vector<float> x(values), scalar(values);
    const fc::Status status = coder.decode(payloads, grid, x);
    fc::set_isa(fc::Isa::scalar);
    if (coder.decode(payloads, grid, scalar) != status) std::abort();
    if (status != fc::Status::ok) return;
    if (std::memcmp(x.data(), scalar.data(), values * sizeof(float)) != 0) std::abort();
    if (!std::all_of(x.begin(), x.end(), [](float value) { return std::isfinite(value); })) std::abort();
}

}  // namespace

void choose_kernels(std::uint8_t byte) {
    if (!fc::set_isa(fc::kAllIsas[byte % std::size(fc::kAllIsas)])) fc::set_isa(fc::Isa::scalar);
    fc::set_amd(byte >= 128);
}

std::vector<std::uint8_t> feature_head(const fc::FeatureCoder& coder, const fc::ContextShape& shape) {
    const bool large = shape.maps > kMaps || shape.height > kSide;
    const unsigned flags = (coder.per_map ? 1u : 0u) | (coder.step > 0 ? 2u : 0u) | (coder.model != nullptr ? 4u : 0u);
    const std::size_t maps = large ? shape.maps / kLargeMaps : shape.maps;
    const std::size_t bytes[kHead] = {static_cast<std::size_t>(coder.family), coder.bits - 1, flags, maps - 1, shape.height - 1, shape.width - 1, 0,
                                      3u + (large ? kLarge : 0u)};
    std::vector<std::uint8_t> head(std::begin(bytes), std::end(bytes));
    const fc::ContextShape said = shape_of(head);
    if (said.maps != shape.maps || said.height != shape.height || said.width != shape.width) throw std::invalid_argument("no head says this shape");
    return head;
}

std::vector<std::uint8_t> transform_head(std::size_t number) { return {static_cast<std::uint8_t>(number), 0, 0, 0, 0, 0, 0, 5}; }

void decode_any(const std::uint8_t* data, std::size_t size) {
    if (size < kHead) return;
    const std::span<const std::uint8_t> head(data, kHead);
    const std::span<const std::uint8_t> body(data + kHead, size - kHead);
    choose_kernels(head[6]);
    const unsigned bits = 1 + head[1] % 16;
    const std::size_t count = 1 + head[3] + 256u * (head[4] % 16);
    std::vector<std::uint16_t> symbols(count);
    switch (head[7] % 6) {
        case 0: static_cast<void>(fc::huffman_decode(body, bits, symbols)); break;
        case 1: static_cast<void>(fc::unpack_bits(body, bits, symbols)); break;
        case 2: {
            std::vector<std::uint32_t> values(count);
            std::size_t used = 0;
            if (fc::golomb_decode(body, values, used) == fc::Status::ok && used > body.size()) std::abort();
            break;
        }
        case 4: decode_prior(head, body); break;
        case 5: decode_transform(head, body); break;
        default: decode_features(head, body); break;
    }
}
