// The scalar level of the order-0 kernels: portable C++, the oracle of the others.
#include <cstring>

#include "order0_isa.hpp"
#include "order0_kernels.hpp"

namespace featcodec {
namespace {

#include "histogram8_pack8_loops.inc"

// Eight symbols at a time inside one 64-bit word.
void pack(const std::uint8_t* symbols, std::size_t count, unsigned bits, std::uint8_t* out) {
    const std::uint64_t mask = 0x0101010101010101u * ((1u << bits) - 1);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        std::uint64_t x;
        std::memcpy(&x, symbols + i, 8);
        x &= mask;
        if (bits == 1) {
            *out++ = static_cast<std::uint8_t>((x * 0x8040201008040201u) >> 56);
            continue;
        }
        x = ((x << bits) | (x >> 8)) & 0x00FF00FF00FF00FFu;
        if (bits == 2) {
            x = ((x << 4) | (x >> 16)) & 0x000000FF000000FFu;
            *out++ = static_cast<std::uint8_t>(x);
            *out++ = static_cast<std::uint8_t>(x >> 32);
            continue;
        }
        x = (x | (x >> 8)) & 0x0000FFFF0000FFFFu;
        const auto four = static_cast<std::uint32_t>(x | (x >> 16));
        std::memcpy(out, &four, 4);
        out += 4;
    }
    pack_range(symbols + i, count - i, bits, out);
}

void unpack(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* symbols) {
    const std::uint64_t mask = 0x0101010101010101u * ((1u << bits) - 1);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        std::uint64_t x = 0;
        if (bits == 1) {
            x = (*packed++ * 0x0101010101010101u) & 0x0102040810204080u;
            x = (x + 0x7F7F7F7F7F7F7F7Fu) >> 7;
        } else if (bits == 2) {
            x = packed[0] | std::uint64_t{packed[1]} << 32;
            x = (x >> 6) | (x << 4) | (x << 14) | (x << 24);
            packed += 2;
        } else {
            std::memcpy(&x, packed, 4);
            x = (x | (x << 16)) & 0x0000FFFF0000FFFFu;
            x = (x | (x << 8)) & 0x00FF00FF00FF00FFu;
            x = (x >> bits) | (x << 8);
            packed += 4;
        }
        x &= mask;
        std::memcpy(symbols + i, &x, 8);
    }
    unpack_range(packed, count - i, bits, symbols + i);
}

#include "huffman8_loops.inc"
#include "rans8_loops.inc"

}  // namespace

const Order0Kernels kOrder0Scalar = {"scalar",       histogram,      pack,        unpack,      huffman_table,   huffman_encode,
                                    huffman_decode, rans_slots, portable_rans_encode, portable_rans_decode, portable_rans_needs_slots, portable_find_bytes};

const std::uint8_t* rans_decode_scalar(const RansCode& code, const std::uint32_t* slots, unsigned bits, const std::uint8_t* begin,
                                       const std::uint8_t* end, unsigned lanes, std::uint32_t* states, std::uint8_t* symbols,
                                       std::size_t count) {
    return portable_rans_decode(code, slots, bits, begin, end, lanes, states, symbols, count);
}

}  // namespace featcodec
