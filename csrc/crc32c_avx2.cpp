// CRC-32C by the SSE4.2 instruction: three runs side by side, since it takes 3 cycles and one can start every cycle.
#if defined(FEATCODEC_X86)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crc32c_kernels.hpp"

namespace featcodec {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78u;
constexpr std::size_t kLong = 4096;  // bytes of one of three runs; multiples of 8
constexpr std::size_t kShort = 168;

// Appending `kRun` zero bytes to a message is linear in the register: four tables, one for each of its bytes (Adler 2013).
struct Append {
    std::uint32_t of_byte[4][256];
};

constexpr std::uint32_t append_zeros(std::uint32_t state, std::size_t bytes) {
    for (std::size_t bit = 0; bit < 8 * bytes; ++bit) state = (state >> 1) ^ ((state & 1u) != 0 ? kPolynomial : 0u);
    return state;
}

template <std::size_t kRun>
constexpr Append make_append() {
    std::uint32_t basis[32]{};
    // The register after its top bit is the slowest to matter: each lower bit is one zero bit further on.
    basis[31] = append_zeros(0x80000000u, kRun);
    for (int bit = 30; bit >= 0; --bit) basis[bit] = (basis[bit + 1] >> 1) ^ ((basis[bit + 1] & 1u) != 0 ? kPolynomial : 0u);
    Append table{};
    for (unsigned byte = 0; byte < 4; ++byte) {
        for (unsigned value = 0; value < 256; ++value) {
            for (unsigned bit = 0; bit < 8; ++bit) {
                if (((value >> bit) & 1u) != 0) table.of_byte[byte][value] ^= basis[8 * byte + bit];
            }
        }
    }
    return table;
}

constexpr Append kAppendLong = make_append<kLong>();
constexpr Append kAppendShort = make_append<kShort>();

std::uint64_t append(const Append& table, std::uint64_t state) {
    return table.of_byte[0][state & 255] ^ table.of_byte[1][(state >> 8) & 255] ^ table.of_byte[2][(state >> 16) & 255] ^
           table.of_byte[3][(state >> 24) & 255];
}

std::uint64_t load64(const std::uint8_t* data) {
    std::uint64_t word;
    std::memcpy(&word, data, 8);
    return word;
}

template <std::size_t kRun>
std::uint64_t three_runs(const std::uint8_t* data, std::uint64_t state, const Append& table) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (std::size_t i = 0; i < kRun; i += 8) {
        state = _mm_crc32_u64(state, load64(data + i));
        second = _mm_crc32_u64(second, load64(data + kRun + i));
        third = _mm_crc32_u64(third, load64(data + 2 * kRun + i));
    }
    return append(table, append(table, state) ^ second) ^ third;
}

}  // namespace

std::uint32_t crc32c_sse42(const std::uint8_t* data, std::size_t size, std::uint32_t start) noexcept {
    std::uint64_t state = start;
    for (; size >= 3 * kLong; size -= 3 * kLong, data += 3 * kLong) state = three_runs<kLong>(data, state, kAppendLong);
    for (; size >= 3 * kShort; size -= 3 * kShort, data += 3 * kShort) state = three_runs<kShort>(data, state, kAppendShort);
    for (; size >= 8; size -= 8, data += 8) state = _mm_crc32_u64(state, load64(data));
    auto low = static_cast<std::uint32_t>(state);
    for (; size > 0; --size, ++data) low = _mm_crc32_u8(low, *data);
    return low;
}

}  // namespace featcodec

#endif
