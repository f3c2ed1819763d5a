// Counts of coded bytes, and of symbols from them.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "order0.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

constexpr std::size_t kBlock = 4096;  // coded bytes packed at a time: they stay in the first-level cache
constexpr std::size_t kPart = std::size_t{1} << 15;  // symbols that threads take at a time: whole blocks

// Adds to counts; packed: as histogram_coded's.
void count_coded(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, ByteCounts& counts, std::uint8_t* packed) {
    const unsigned per_byte = symbols_per_byte(bits);
    if (per_byte == 1) return kernels.histogram(symbols.data(), symbols.size(), counts);
    std::uint8_t block[kBlock];
    const std::size_t step = kBlock * per_byte;
    for (std::size_t i = 0; i < symbols.size(); i += step) {
        const std::size_t size = std::min(step, symbols.size() - i);
        std::uint8_t* const to = packed == nullptr ? block : packed + i / per_byte;
        kernels.pack(symbols.data() + i, size, bits, to);
        kernels.histogram(to, coded_bytes(size, bits), counts);
    }
}

}  // namespace

void histogram_coded(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits, ByteCounts& counts,
                     std::uint8_t* packed) {
    std::memset(counts, 0, sizeof counts);
    std::mutex guard;
    for_parts(symbols.size(), kPart, [&](std::size_t first, std::size_t some) {
        std::uint8_t* const to = packed == nullptr ? nullptr : packed + first / symbols_per_byte(bits);
        if (some == symbols.size()) return count_coded(kernels, symbols, bits, counts, to);
        ByteCounts own = {};
        count_coded(kernels, symbols.subspan(first, some), bits, own, to);
        const std::lock_guard<std::mutex> lock(guard);
        for (unsigned i = 0; i < 256; ++i) counts[i] += own[i];
    });
}

void histogram_symbols(const ByteCounts& coded, std::size_t count, unsigned bits, ByteCounts& symbol_counts) {
    if (bits > 4) {
        std::memcpy(symbol_counts, coded, sizeof symbol_counts);
        return;
    }
    std::memset(symbol_counts, 0, sizeof symbol_counts);
    const unsigned per_byte = symbols_per_byte(bits);
    const unsigned mask = (1u << bits) - 1;
    const unsigned alphabet = coded_alphabet(bits);
    for (unsigned value = 0; value < alphabet; ++value) {
        if (coded[value] == 0) continue;
        for (unsigned i = 0; i < per_byte; ++i) symbol_counts[(value >> (i * bits)) & mask] += coded[value];
    }
    // The last byte's padding was counted as symbols 0.
    symbol_counts[0] -= static_cast<std::uint32_t>(coded_bytes(count, bits) * per_byte - count);
}

}  // namespace featcodec
