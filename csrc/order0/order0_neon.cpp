// The NEON level of the order-0 kernels: packing, with which counting begins too, and the portable Huffman decoder around it. The rest
// is the scalar level's: Huffman and rANS look up a table at every symbol, and NEON has no gathers; their interleaved lanes keep the
// scalar units busy instead.
#if defined(FEATCODEC_NEON)

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "order0_isa.hpp"
#include "order0_kernels.hpp"

namespace featcodec {
namespace {

// vsli(a, b, n) is b << n with the low n bits of a: what a symbol has above them is gone, and what the first one has leaves at the top.

// ---- 1 bit: 128 symbols in 16 bytes --------------------------------------------------------------------------------------------
// 64 symbols to 16 nibbles, with anything above them.
inline uint8x16_t nibbles_of(const std::uint8_t* symbols) {
    const uint8x16x4_t x = vld4q_u8(symbols);
    return vsliq_n_u8(vsliq_n_u8(x.val[3], x.val[2], 1), vsliq_n_u8(x.val[1], x.val[0], 1), 2);
}

inline void spread_nibbles(uint8x16_t nibbles, std::uint8_t* symbols) {
    const uint8x16_t one = vdupq_n_u8(1);
    const uint8x16x4_t x = {{vshrq_n_u8(nibbles, 3), vandq_u8(vshrq_n_u8(nibbles, 2), one), vandq_u8(vshrq_n_u8(nibbles, 1), one),
                             vandq_u8(nibbles, one)}};
    vst4q_u8(symbols, x);
}

inline void pack128(const std::uint8_t* symbols, std::uint8_t* out) {
    const uint8x16_t low = nibbles_of(symbols);
    const uint8x16_t high = nibbles_of(symbols + 64);
    vst1q_u8(out, vsliq_n_u8(vuzp2q_u8(low, high), vuzp1q_u8(low, high), 4));
}

inline void unpack128(const std::uint8_t* packed, std::uint8_t* symbols) {
    const uint8x16_t x = vld1q_u8(packed);
    const uint8x16_t high = vshrq_n_u8(x, 4);
    const uint8x16_t low = vandq_u8(x, vdupq_n_u8(15));
    spread_nibbles(vzip1q_u8(high, low), symbols);
    spread_nibbles(vzip2q_u8(high, low), symbols + 64);
}

// ---- 2 bits: 64 symbols in 16 bytes ----------------------------------------------------------------------------------------------
inline void pack64(const std::uint8_t* symbols, std::uint8_t* out) {
    const uint8x16x4_t x = vld4q_u8(symbols);
    vst1q_u8(out, vsliq_n_u8(vsliq_n_u8(x.val[3], x.val[2], 2), vsliq_n_u8(x.val[1], x.val[0], 2), 4));
}

inline void unpack64(const std::uint8_t* packed, std::uint8_t* symbols) {
    const uint8x16_t three = vdupq_n_u8(3);
    const uint8x16_t x = vld1q_u8(packed);
    const uint8x16x4_t spread = {{vshrq_n_u8(x, 6), vandq_u8(vshrq_n_u8(x, 4), three), vandq_u8(vshrq_n_u8(x, 2), three), vandq_u8(x, three)}};
    vst4q_u8(symbols, spread);
}

// ---- 3 and 4 bits: 32 symbols in 16 bytes ----------------------------------------------------------------------------------------
inline void pack32(const std::uint8_t* symbols, unsigned bits, std::uint8_t* out) {
    const uint8x16x2_t x = vld2q_u8(symbols);
    const uint8x16_t threes = vandq_u8(vsliq_n_u8(x.val[1], x.val[0], 3), vdupq_n_u8(63));
    vst1q_u8(out, bits == 3 ? threes : vsliq_n_u8(x.val[1], x.val[0], 4));
}

inline void unpack32(const std::uint8_t* packed, unsigned bits, std::uint8_t* symbols) {
    const uint8x16_t mask = vdupq_n_u8(static_cast<std::uint8_t>((1u << bits) - 1));
    const int8x16_t shift = vdupq_n_s8(static_cast<std::int8_t>(-static_cast<int>(bits)));  // to the right
    const uint8x16_t x = vld1q_u8(packed);
    const uint8x16x2_t spread = {{vandq_u8(vshlq_u8(x, shift), mask), vandq_u8(x, mask)}};
    vst2q_u8(symbols, spread);
}

// ---- loops ---------------------------------------------------------------------------------------------------------------------
constexpr std::size_t kPacked = 16;  // bytes of a step

// A step's symbols.
constexpr std::size_t step_of(unsigned bits) { return kPacked * (bits == 1 ? 8 : bits == 2 ? 4 : 2); }

void pack(const std::uint8_t* symbols, std::size_t count, unsigned bits, std::uint8_t* out) {
    const std::size_t step = step_of(bits);
    for (; count >= step; count -= step, symbols += step, out += kPacked) {
        if (bits >= 3) {
            pack32(symbols, bits, out);
        } else if (bits == 2) {
            pack64(symbols, out);
        } else {
            pack128(symbols, out);
        }
    }
    if (count > 0) kOrder0Scalar.pack(symbols, count, bits, out);
}

void unpack(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* symbols) {
    const std::size_t step = step_of(bits);
    for (; count >= step; count -= step, symbols += step, packed += kPacked) {
        if (bits >= 3) {
            unpack32(packed, bits, symbols);
        } else if (bits == 2) {
            unpack64(packed, symbols);
        } else {
            unpack128(packed, symbols);
        }
    }
    if (count > 0) kOrder0Scalar.unpack(packed, count, bits, symbols);
}

#include "huffman8_loops.inc"

Order0Kernels make_kernels() noexcept {
    Order0Kernels kernels = kOrder0Scalar;
    kernels.name = "neon";
    kernels.pack = pack;
    kernels.unpack = unpack;
    kernels.huffman_decode = huffman_decode;
    return kernels;
}

}  // namespace

const Order0Kernels kOrder0Neon = make_kernels();

}  // namespace featcodec

#endif
