// An arithmetic coder (Martin 1979) with a 48-bit window and carries, of symbols by frequencies that sum to 2^16; what csrc/prior and
// csrc/transform share. Normative: docs/bitstream.md, "entropic". Not for the ISA files: they share no inline function with others.
//
// All arithmetic is on integers. low and span count units of 2^-48 of the interval that is left, shifted as bytes go out.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace featcodec {

inline constexpr unsigned kArithmeticPrecision = 16;
inline constexpr std::uint64_t kArithmeticTotal = std::uint64_t{1} << kArithmeticPrecision;
inline constexpr std::uint64_t kArithmeticHalf = kArithmeticTotal / 2;  // a bit is half a table

namespace arithmetic {
inline constexpr unsigned kWindowBits = 48;
inline constexpr std::uint64_t kTop = std::uint64_t{1} << kWindowBits;
inline constexpr std::uint64_t kBottom = kTop >> 8;  // at least this much is left before a symbol: a unit of 2^24 and more
}  // namespace arithmetic

// A symbol takes 16 bits at most and what rounding costs, below 2^-20 of them; the end takes 8 bytes. The caller makes room for it.
class ArithmeticEncoder {
public:
    explicit ArithmeticEncoder(std::uint8_t* out) noexcept : begin_(out), to_(out) {}

    // sizes of at least 1, start + size at most 2^16
    void put(std::uint64_t start, std::uint64_t size) noexcept {
        const std::uint64_t unit = span_ >> kArithmeticPrecision;
        low_ += unit * start;
        span_ = unit * size;
        carry();
        for (; span_ < arithmetic::kBottom; span_ <<= 8) {
            *to_++ = static_cast<std::uint8_t>(low_ >> (arithmetic::kWindowBits - 8));
            low_ = (low_ << 8) & (arithmetic::kTop - 1);
        }
    }

    void put_bit(std::uint64_t bit) noexcept { put(bit * kArithmeticHalf, kArithmeticHalf); }

    // The low `count` bits of value, the highest first.
    void put_bits(std::uint64_t value, unsigned count) noexcept {
        for (unsigned i = count; i > 0; --i) put_bit(value >> (i - 1) & 1);
    }

    // Exp-Golomb of order 0, of value - 1: value, at least 1, after as many zeros as it has further bits.
    void put_golomb(std::uint64_t value) noexcept {
        const auto width = static_cast<unsigned>(std::bit_width(value));
        put_bits(0, width - 1);
        put_bits(value, width);
    }

    std::size_t size() const noexcept { return static_cast<std::size_t>(to_ - begin_); }
    // The bytes so far lie at `out` now.
    void move_to(std::uint8_t* out) noexcept {
        to_ = out + size();
        begin_ = out;
    }

    // The fewest bytes that name the interval, without zeros at the end; returns how many there are in all.
    std::size_t finish() noexcept {
        const std::uint64_t low = low_;
        for (std::uint64_t rest = arithmetic::kTop - 1;; rest >>= 8) {
            low_ = (low + rest) & ~rest;
            if (low_ < low + span_) break;  // as it is at the latest where no bit is left out
        }
        carry();
        for (unsigned shift = arithmetic::kWindowBits; shift > 0; shift -= 8) *to_++ = static_cast<std::uint8_t>(low_ >> (shift - 8));
        while (to_ != begin_ && to_[-1] == 0) --to_;
        return size();
    }

private:
    // Into the bytes that are out already: low never passes what was the whole interval, so there is one that takes it.
    void carry() noexcept {
        if (low_ < arithmetic::kTop) return;
        low_ &= arithmetic::kTop - 1;
        std::uint8_t* at = to_ - 1;
        for (; *at == 0xFF; --at) *at = 0;
        ++*at;
    }

    std::uint8_t* begin_;
    std::uint8_t* to_;
    std::uint64_t low_ = 0;
    std::uint64_t span_ = arithmetic::kTop;
};

// Beyond the end there are zeros, which an encoder leaves out.
class ArithmeticDecoder {
public:
    explicit ArithmeticDecoder(std::span<const std::uint8_t> in) noexcept : in_(in) {
        for (unsigned i = 0; i < arithmetic::kWindowBits / 8; ++i) code_ = code_ << 8 | next();
    }

    // The entry whose interval holds the code: starts[0] is 0, they rise strictly, and the last, at `entries`, is 2^16.
    // False where no encoder writes this.
    bool get(const std::uint32_t* starts, std::size_t entries, std::size_t& entry) noexcept {
        const std::uint64_t unit = span_ >> kArithmeticPrecision;
        for (std::size_t k = 0; k < entries; ++k) {
            if (code_ < unit * starts[k + 1]) {  // without a division: the first entries are the likely ones
                take(unit, starts[k], starts[k + 1] - starts[k]);
                entry = k;
                return true;
            }
        }
        return false;
    }

    // In [0, 2^16): the next symbol's interval is the one that holds it. False where no encoder writes this.
    bool peek(std::uint64_t& value) const noexcept {
        value = code_ / (span_ >> kArithmeticPrecision);
        return value < kArithmeticTotal;
    }
    // Past the interval that holds what peek gave.
    void skip(std::uint64_t start, std::uint64_t size) noexcept { take(span_ >> kArithmeticPrecision, start, size); }

    bool get_bit(std::uint64_t& bit) noexcept {
        const std::uint64_t unit = span_ >> kArithmeticPrecision;
        if (code_ >= unit << kArithmeticPrecision) return false;
        bit = code_ >= unit * kArithmeticHalf ? 1 : 0;
        take(unit, bit * kArithmeticHalf, kArithmeticHalf);
        return true;
    }

    // `count` bits, below 64, after those that value has.
    bool get_bits(std::uint64_t& value, unsigned count) noexcept {
        for (; count > 0; --count) {
            std::uint64_t bit = 0;
            if (!get_bit(bit)) return false;
            value = value << 1 | bit;
        }
        return true;
    }

    // What put_golomb wrote; false too where it has more than most_zeros, below 64, zeros before it.
    bool get_golomb(unsigned most_zeros, std::uint64_t& value) noexcept {
        unsigned zeros = 0;
        std::uint64_t bit = 0;
        if (!get_bit(bit)) return false;
        for (; bit == 0; ++zeros) {
            if (zeros == most_zeros || !get_bit(bit)) return false;
        }
        value = 1;
        return get_bits(value, zeros);
    }

    // Every byte is used and the last one is no zero.
    bool at_clean_end() const noexcept { return in_.size() <= position_ && (in_.empty() || in_.back() != 0); }

private:
    std::uint64_t next() noexcept {
        const std::uint64_t byte = position_ < in_.size() ? in_[position_] : 0;
        ++position_;
        return byte;
    }

    void take(std::uint64_t unit, std::uint64_t start, std::uint64_t size) noexcept {
        code_ -= unit * start;
        span_ = unit * size;
        for (; span_ < arithmetic::kBottom; span_ <<= 8) code_ = code_ << 8 | next();
    }

    std::span<const std::uint8_t> in_;
    std::size_t position_ = 0;
    std::uint64_t code_ = 0;  // below span_: take() follows a value within the interval
    std::uint64_t span_ = arithmetic::kTop;
};

}  // namespace featcodec
