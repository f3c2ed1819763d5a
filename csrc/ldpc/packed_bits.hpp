// Packed bits as 64-bit words, first bit on top: how bytes become words, and how 64 bits are read at any bit position.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace featcodec::ldpc {

inline std::uint64_t from_big_endian(std::uint64_t x) {
    if constexpr (std::endian::native == std::endian::little) return __builtin_bswap64(x);
    return x;
}

inline std::size_t bytes_of(std::size_t bits) { return (bits + 7) / 8; }
inline std::size_t words_of(std::size_t bits) { return (bits + 63) / 64; }

// The 64 bits from `shift` (0..63) on of the 128 in high, low.
inline std::uint64_t funnel(std::uint64_t high, std::uint64_t low, unsigned shift) {
    return shift == 0 ? high : high << shift | low >> (64 - shift);
}

// The top `bits` (1..64) bits of a word.
inline std::uint64_t top_mask(unsigned bits) { return ~std::uint64_t{0} << (64 - bits); }

// 64 bits from bit `position` on; reads the word after the one that holds it.
inline std::uint64_t read_bits(const std::uint64_t* words, std::size_t position) {
    return funnel(words[position / 64], words[position / 64 + 1], static_cast<unsigned>(position % 64));
}

// words_of(bits) words, `stride` apart, from bytes_of(bits) bytes; what pads the last byte and word is zero, whatever the caller left there.
inline void load_words(std::uint64_t* words, std::size_t stride, const std::uint8_t* bytes, std::size_t bits) {
    const std::size_t whole = bits / 64, rest = bits % 64;
    for (std::size_t i = 0; i < whole; ++i) {
        std::uint64_t x;
        std::memcpy(&x, bytes + 8 * i, 8);
        words[i * stride] = from_big_endian(x);
    }
    if (rest == 0) return;
    std::uint64_t x = 0;
    std::memcpy(&x, bytes + 8 * whole, bytes_of(rest));
    words[whole * stride] = from_big_endian(x) & top_mask(static_cast<unsigned>(rest));
}

// The inverse: bytes_of(bits) bytes; the bits past `bits` become zero.
inline void store_words(std::uint8_t* bytes, const std::uint64_t* words, std::size_t stride, std::size_t bits) {
    const std::size_t whole = bits / 64, rest = bits % 64;
    for (std::size_t i = 0; i < whole; ++i) {
        const std::uint64_t x = from_big_endian(words[i * stride]);
        std::memcpy(bytes + 8 * i, &x, 8);
    }
    if (rest == 0) return;
    const std::uint64_t x = from_big_endian(words[whole * stride] & top_mask(static_cast<unsigned>(rest)));
    std::memcpy(bytes + 8 * whole, &x, bytes_of(rest));
}

}  // namespace featcodec::ldpc
