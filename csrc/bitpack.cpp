// Fixed-width symbols, one after the other.
#include "bits.hpp"
#include "featcodec.hpp"

namespace featcodec {
namespace {

void check_bits(unsigned bits) {
    if (bits < 1 || bits > kMaxSymbolBits) throw std::invalid_argument("bits must be 1..16");
}

}  // namespace

std::size_t packed_size(std::size_t count, unsigned bits) {
    check_bits(bits);
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

void pack_bits(std::span<const std::uint16_t> symbols, unsigned bits, std::span<std::uint8_t> out) {
    if (out.size() != packed_size(symbols.size(), bits)) throw std::invalid_argument("out must have packed_size bytes");
    const std::uint32_t mask = (std::uint32_t{1} << bits) - 1;
    BitWriter writer(out);
    for (const std::uint16_t symbol : symbols) writer.put(symbol & mask, bits);
    writer.finish();
}

Status unpack_bits(std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint16_t> symbols) {
    const std::size_t wanted = packed_size(symbols.size(), bits);
    if (in.size() != wanted) return in.size() < wanted ? Status::truncated : Status::trailing;
    BitReader reader(in);
    for (std::uint16_t& symbol : symbols) symbol = static_cast<std::uint16_t>(reader.get(bits));
    return reader.at_clean_end() ? Status::ok : Status::trailing;
}

}  // namespace featcodec
