// CRC-32C by four tables: four bytes a step, no special instruction.
#include <array>

#include "featcodec.hpp"

namespace featcodec {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78u;  // reflected Castagnoli polynomial

using Tables = std::array<std::array<std::uint32_t, 256>, 4>;

constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? kPolynomial : 0u);
        tables[0][byte] = crc;
    }
    // tables[k][b]: the CRC of byte b followed by k zero bytes.
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        for (std::size_t k = 1; k < 4; ++k) {
            const std::uint32_t shorter = tables[k - 1][byte];
            tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xFFu];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32c(std::span<const std::uint8_t> data, std::uint32_t crc) noexcept {
    crc = ~crc;
    std::size_t i = 0;
    for (; i + 4 <= data.size(); i += 4) {
        const std::uint32_t word = crc ^ (std::uint32_t{data[i]} | std::uint32_t{data[i + 1]} << 8 |
                                          std::uint32_t{data[i + 2]} << 16 | std::uint32_t{data[i + 3]} << 24);
        crc = kTables[3][word & 0xFFu] ^ kTables[2][(word >> 8) & 0xFFu] ^ kTables[1][(word >> 16) & 0xFFu] ^
              kTables[0][word >> 24];
    }
    for (; i < data.size(); ++i) crc = (crc >> 8) ^ kTables[0][(crc ^ data[i]) & 0xFFu];
    return ~crc;
}

}  // namespace featcodec
