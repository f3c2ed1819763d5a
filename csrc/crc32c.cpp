// CRC-32C by eight tables, eight bytes a step; levels have the processor's instructions.
#include <array>
#include <cstring>

#include "crc32c_kernels.hpp"
#include "featcodec.hpp"
#include "kernels.hpp"

namespace featcodec {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78u;  // reflected Castagnoli polynomial
constexpr std::size_t kSlices = 8;

using Tables = std::array<std::array<std::uint32_t, 256>, kSlices>;

constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? kPolynomial : 0u);
        tables[0][byte] = crc;
    }
    // tables[k][b]: the CRC of byte b followed by k zero bytes.
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        for (std::size_t k = 1; k < kSlices; ++k) {
            const std::uint32_t shorter = tables[k - 1][byte];
            tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xFFu];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

// Little-endian on any host: bytes by shifts, which compilers turn into one load.
std::uint32_t load32(const std::uint8_t* data) {
    return std::uint32_t{data[0]} | std::uint32_t{data[1]} << 8 | std::uint32_t{data[2]} << 16 | std::uint32_t{data[3]} << 24;
}

}  // namespace

std::uint32_t crc32c_scalar(const std::uint8_t* data, std::size_t size, std::uint32_t state) noexcept {
    for (; size >= 8; size -= 8, data += 8) {
        const std::uint32_t a = state ^ load32(data);
        const std::uint32_t b = load32(data + 4);
        state = kTables[7][a & 0xFFu] ^ kTables[6][(a >> 8) & 0xFFu] ^ kTables[5][(a >> 16) & 0xFFu] ^ kTables[4][a >> 24] ^
                kTables[3][b & 0xFFu] ^ kTables[2][(b >> 8) & 0xFFu] ^ kTables[1][(b >> 16) & 0xFFu] ^ kTables[0][b >> 24];
    }
    for (; size > 0; --size, ++data) state = (state >> 8) ^ kTables[0][(state ^ *data) & 0xFFu];
    return state;
}

std::uint32_t crc32c(std::span<const std::uint8_t> data, std::uint32_t crc) noexcept {
    return ~current_kernels().crc32c(data.data(), data.size(), ~crc);
}

}  // namespace featcodec
