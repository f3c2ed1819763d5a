// Exp-Golomb integer sequences: how tables of counts are sent.
#include "bits.hpp"
#include "featcodec.hpp"

namespace featcodec {
namespace {

constexpr unsigned kMaxOrder = 31;

unsigned best_order(std::span<const std::uint32_t> values) {
    unsigned best = 0;
    std::uint64_t best_bits = UINT64_MAX;
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
        std::uint64_t bits = 0;
        for (const std::uint32_t value : values) bits += golomb_bits(value, order);
        if (bits < best_bits) {
            best_bits = bits;
            best = order;
        }
    }
    return best;
}

}  // namespace

std::size_t golomb_bound(std::size_t count) noexcept {
    return 1 + count * 8 + 1;  // the best order needs at most 32 + 31 bits a value (order 0)
}

std::size_t golomb_encode(std::span<const std::uint32_t> values, std::span<std::uint8_t> out) {
    const unsigned order = best_order(values);
    BitWriter writer(out);
    writer.put(order, 8);
    for (const std::uint32_t value : values) {
        if (value == UINT32_MAX) throw std::invalid_argument("values must be below 2^32 - 1");
        writer.put_golomb(value, order);
    }
    return writer.finish();
}

Status golomb_decode(std::span<const std::uint8_t> in, std::span<std::uint32_t> values, std::size_t& used) {
    BitReader reader(in);
    const std::uint32_t order = reader.get(8);
    if (reader.overrun()) return Status::truncated;
    if (order > kMaxOrder) return Status::bad_code;
    for (std::uint32_t& value : values) {
        if (!reader.get_golomb(value, order)) return reader.overrun() ? Status::truncated : Status::bad_code;
    }
    used = reader.bytes_used();
    return Status::ok;
}

}  // namespace featcodec
