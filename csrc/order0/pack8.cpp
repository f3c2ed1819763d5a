// Symbols of 1..8 bits, one after the other, most significant bit first: bitpack's layout, for uint8.
#include <cstring>

#include "order0.hpp"
#include "threads.hpp"

namespace featcodec {
namespace {

// Widths that do not divide a byte: eight symbols are `bits` bytes.
void pack_eight(const std::uint8_t* symbols, std::size_t count, unsigned bits, std::uint8_t* out) {
    const unsigned mask = (1u << bits) - 1;
    for (std::size_t i = 0; i < count; i += 8) {
        const std::size_t here = count - i < 8 ? count - i : 8;
        std::uint64_t word = 0;
        for (std::size_t j = 0; j < here; ++j) word = (word << bits) | (symbols[i + j] & mask);
        word <<= 64 - bits * here;
        for (std::size_t j = 0; j < (here * bits + 7) / 8; ++j, word <<= 8) *out++ = static_cast<std::uint8_t>(word >> 56);
    }
}

void unpack_eight(const std::uint8_t* in, std::size_t count, unsigned bits, std::uint8_t* symbols) {
    for (std::size_t i = 0; i < count; i += 8) {
        const std::size_t here = count - i < 8 ? count - i : 8;
        std::uint64_t word = 0;
        for (std::size_t j = 0; j < (here * bits + 7) / 8; ++j) word |= std::uint64_t{*in++} << (56 - 8 * j);
        for (std::size_t j = 0; j < here; ++j, word <<= bits) symbols[i + j] = static_cast<std::uint8_t>(word >> (64 - bits));
    }
}

constexpr std::size_t kPart = std::size_t{1} << 17;  // symbols that threads take at a time: whole bytes

}  // namespace

std::size_t pack8_size(std::size_t count, unsigned bits) { return count / 8 * bits + (count % 8 * bits + 7) / 8; }

std::size_t pack8_encode(const Order0Kernels& kernels, std::span<const std::uint8_t> symbols, unsigned bits,
                         std::span<std::uint8_t> out) {
    const std::size_t size = pack8_size(symbols.size(), bits);
    if (out.size() < size) return 0;
    for_parts(symbols.size(), kPart, [&](std::size_t first, std::size_t some) {
        const std::uint8_t* const from = symbols.data() + first;
        std::uint8_t* const to = out.data() + first / 8 * bits;
        if (bits == 8) {
            if (some > 0) std::memcpy(to, from, some);
        } else if (bits == 1 || bits == 2 || bits == 4) {
            kernels.pack(from, some, bits, to);
        } else {
            pack_eight(from, some, bits, to);
        }
    });
    return size;
}

Status pack8_decode(const Order0Kernels& kernels, std::span<const std::uint8_t> in, unsigned bits, std::span<std::uint8_t> symbols) {
    const std::size_t size = pack8_size(symbols.size(), bits);
    if (in.size() != size) return in.size() < size ? Status::truncated : Status::trailing;
    const auto padding = static_cast<unsigned>((8 - symbols.size() * bits % 8) % 8);
    if (padding != 0 && (in.back() & ((1u << padding) - 1)) != 0) return Status::trailing;
    for_parts(symbols.size(), kPart, [&](std::size_t first, std::size_t some) {
        const std::uint8_t* const from = in.data() + first / 8 * bits;
        std::uint8_t* const to = symbols.data() + first;
        if (bits == 8) {
            if (some > 0) std::memcpy(to, from, some);
        } else if (bits == 1 || bits == 2 || bits == 4) {
            kernels.unpack(from, some, bits, to);
        } else {
            unpack_eight(from, some, bits, to);
        }
    });
    return Status::ok;
}

}  // namespace featcodec
