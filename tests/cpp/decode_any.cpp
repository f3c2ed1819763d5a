// See decode_any.hpp. Whatever the bytes are: a Status, bounded time, no access outside the spans.
#include "decode_any.hpp"

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <span>
#include <vector>

#include "cpu.hpp"
#include "feature.hpp"
#include "featcodec.hpp"
#include "prior/prior.hpp"

namespace fc = featcodec;

namespace {

// Static models of a fixed training set, one for every family and width that occurs.
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
        fc::huffman8_build_static(fc::order0_kernels(fc::current_isa()), counts, bits, *slot->huffman);
        fc::ByteCounts symbols{};
        for (unsigned i = 0; i < 1u << bits; ++i) symbols[i] = 1 + i % 5;
        slot->rans = std::make_unique<fc::RansStatic>();
        std::uint8_t table[fc::kCurve8TableBound];
        const std::size_t size = fc::curve8_train_static(symbols, bits, table);
        if (fc::curve8_load_static(fc::order0_kernels(fc::current_isa()), {table, size}, bits, *slot->rans) != fc::Status::ok) std::abort();
    }
    return slot.get();
}

void decode_features(std::span<const std::uint8_t> head, std::span<const std::uint8_t> body) {
    fc::FeatureCoder coder;
    coder.family = static_cast<fc::Family>(head[0] % 5);
    coder.bits = 1 + head[1] % 16;
    coder.per_map = (head[2] & 1) != 0;
    coder.step = (head[2] & 2) != 0 ? 0.25f : 0.0f;
    if ((head[2] & 4) != 0) coder.model = static_model(coder.family, fc::static_bits(coder));
    const fc::ContextShape shape{1u + head[3] % 80, 1u + head[4] % 40, 1u + head[5] % 40};
    std::vector<float> x(shape.maps * shape.height * shape.width);
    const std::span<const std::uint8_t> payloads[] = {body};
    fc::FeatureParts parts;
    const bool read = fc::feature_parts(coder, body, shape, parts) == fc::Status::ok;
    if (read && parts.side_bits + parts.table_bits > 8 * std::uint64_t{body.size()}) std::abort();
    if (fc::feature_decode(coder, payloads, shape, {x.data(), x.size(), fc::FloatType::float32}) != fc::Status::ok) return;
    if (!read) std::abort();
    for (const float value : x) {
        if (!std::isfinite(value)) std::abort();
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

}  // namespace

void choose_isa(std::uint8_t byte) {
    if (!fc::set_isa(fc::kAllIsas[byte % std::size(fc::kAllIsas)])) fc::set_isa(fc::Isa::scalar);
}

void decode_any(const std::uint8_t* data, std::size_t size) {
    if (size < kHead) return;
    const std::span<const std::uint8_t> head(data, kHead);
    const std::span<const std::uint8_t> body(data + kHead, size - kHead);
    choose_isa(head[6]);
    const unsigned bits = 1 + head[1] % 16;
    const std::size_t count = 1 + head[3] + 256u * (head[4] % 16);
    std::vector<std::uint16_t> symbols(count);
    switch (head[7] % 5) {
        case 0: static_cast<void>(fc::huffman_decode(body, bits, symbols)); break;
        case 1: static_cast<void>(fc::unpack_bits(body, bits, symbols)); break;
        case 2: {
            std::vector<std::uint32_t> values(count);
            std::size_t used = 0;
            if (fc::golomb_decode(body, values, used) == fc::Status::ok && used > body.size()) std::abort();
            break;
        }
        case 4: decode_prior(head, body); break;
        default: decode_features(head, body); break;
    }
}
