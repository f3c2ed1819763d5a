// Exp-Golomb integer sequences: how tables of counts are sent.
#include "bits.hpp"
#include "featcodec.hpp"

namespace featcodec {
namespace {

constexpr unsigned kMaxOrder = 31;

std::uint64_t code_bits(std::uint32_t value, unsigned order) {
    const auto head = (std::uint64_t{value} >> order) + 1;
    return 2 * static_cast<unsigned>(std::bit_width(head)) - 1 + order;
}

unsigned best_order(std::span<const std::uint32_t> values) {
    unsigned best = 0;
    std::uint64_t best_bits = UINT64_MAX;
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
        std::uint64_t bits = 0;
        for (const std::uint32_t value : values) bits += code_bits(value, order);
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
        const auto head = static_cast<std::uint32_t>(value >> order);
        if (head == UINT32_MAX) throw std::invalid_argument("values must be below 2^32 - 1");
        writer.put_gamma(head + 1);
        writer.put(value & ((std::uint32_t{1} << order) - 1), order);
    }
    return writer.finish();
}

Status golomb_decode(std::span<const std::uint8_t> in, std::span<std::uint32_t> values, std::size_t& used) {
    BitReader reader(in);
    const std::uint32_t order = reader.get(8);
    if (reader.overrun()) return Status::truncated;
    if (order > kMaxOrder) return Status::bad_code;
    for (std::uint32_t& value : values) {
        std::uint32_t head = 0;
        if (!reader.get_gamma(head)) return reader.overrun() ? Status::truncated : Status::bad_code;
        const std::uint64_t wide = (std::uint64_t{head - 1} << order) | reader.get(order);
        if (wide > UINT32_MAX) return Status::bad_code;
        value = static_cast<std::uint32_t>(wide);
    }
    if (reader.overrun()) return Status::truncated;
    used = reader.bytes_used();
    return Status::ok;
}

}  // namespace featcodec
