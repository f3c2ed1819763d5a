// Bit cursors shared by the scalar coders: most significant bit first, every access bounds-checked.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

namespace featcodec {

// Signed integers as non-negative ones: 0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ...
inline std::uint32_t zigzag(int value) {
    return value >= 0 ? 2u * static_cast<unsigned>(value) : 2u * static_cast<unsigned>(-(value + 1)) + 1u;
}
inline int unzigzag(std::uint32_t code) {
    const auto half = static_cast<int>(code >> 1);
    return (code & 1u) == 0 ? half : -half - 1;
}

// Bits of the Exp-Golomb code of that order, 0..31.
inline unsigned golomb_bits(std::uint32_t value, unsigned order) {
    return 2 * static_cast<unsigned>(std::bit_width((std::uint64_t{value} >> order) + 1)) - 1 + order;
}

class BitWriter {
public:
    explicit BitWriter(std::span<std::uint8_t> out) noexcept : out_(out) {}

    // Appends the low `count` (0..32) bits of `value`; bits above them must be zero.
    void put(std::uint32_t value, unsigned count) {
        accumulator_ = (accumulator_ << count) | value;
        filled_ += count;
        if (filled_ < 32) return;
        filled_ -= 32;
        const auto word = static_cast<std::uint32_t>(accumulator_ >> filled_);
        if (out_.size() - size_ < 4) throw std::invalid_argument("the output span is too small");
        for (unsigned i = 0; i < 4; ++i) out_[size_ + i] = static_cast<std::uint8_t>(word >> (24 - 8 * i));  // one store
        size_ += 4;
    }

    // The Exp-Golomb code of an order (0..31): h = (value >> order) + 1, below 2^32, as floor(log2 h) zeros and h itself; then the
    // low `order` bits of value.
    void put_golomb(std::uint32_t value, unsigned order) {
        const std::uint32_t head = (value >> order) + 1;
        const auto width = static_cast<unsigned>(std::bit_width(head));
        const std::uint32_t low = value & ((std::uint32_t{1} << order) - 1);
        if (2 * width - 1 + order <= 32) return put(head << order | low, 2 * width - 1 + order);
        put(0, width - 1);
        put(head, width);
        put(low, order);
    }

    // Pads with zeros to a whole byte; returns the bytes written.
    std::size_t finish() {
        accumulator_ <<= (8 - filled_ % 8) % 8;
        filled_ = (filled_ + 7) / 8 * 8;
        for (; filled_ > 0; filled_ -= 8) push(static_cast<std::uint8_t>(accumulator_ >> (filled_ - 8)));
        return size_;
    }

private:
    void push(std::uint8_t byte) {
        if (size_ == out_.size()) throw std::invalid_argument("the output span is too small");
        out_[size_++] = byte;
    }

    std::span<std::uint8_t> out_;
    std::size_t size_ = 0;
    std::uint64_t accumulator_ = 0;  // the low `filled_` bits are still to be written
    unsigned filled_ = 0;
};

// Reads past the end give zeros and are remembered: check overrun() once, after the last read.
class BitReader {
public:
    explicit BitReader(std::span<const std::uint8_t> in) noexcept : in_(in) {}

    // The next `count` (1..32) bits, not consumed.
    std::uint32_t peek(unsigned count) noexcept {
        if (filled_ < count) refill();
        return static_cast<std::uint32_t>((accumulator_ >> (filled_ - count)) & ((std::uint64_t{1} << count) - 1));
    }

    // At most what the last peek asked for.
    void skip(unsigned count) noexcept {
        filled_ -= count;
        consumed_ += count;
    }

    std::uint32_t get(unsigned count) noexcept {
        if (count == 0) return 0;
        const std::uint32_t value = peek(count);
        skip(count);
        return value;
    }

    // False where the value has more than 32 bits or the input ends inside its code.
    bool get_golomb(std::uint32_t& value, unsigned order) noexcept {
        const auto zeros = static_cast<unsigned>(std::countl_zero(peek(32)));
        skip(zeros);
        if (zeros == 32) return false;
        const std::uint64_t head = get(zeros + 1) - 1;
        const std::uint64_t wide = head << order | get(order);
        value = static_cast<std::uint32_t>(wide);
        return wide <= UINT32_MAX && !overrun();
    }

    std::uint64_t bits_used() const noexcept { return consumed_; }
    bool overrun() const noexcept { return consumed_ > std::uint64_t{in_.size()} * 8; }
    std::size_t bytes_used() const noexcept { return static_cast<std::size_t>((consumed_ + 7) / 8); }
    // True where every byte is used and the padding of the last one is zero.
    bool at_clean_end() noexcept {
        const auto padding = static_cast<unsigned>((8 - consumed_ % 8) % 8);
        return bytes_used() == in_.size() && (padding == 0 || peek(padding) == 0);
    }

private:
    static std::uint64_t load64(const std::uint8_t* from) noexcept {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < 8; ++i) value = value << 8 | from[i];  // which compilers turn into one load
        return value;
    }

    void refill() noexcept {
        if (in_.size() >= 8 && next_ <= in_.size() - 8) {  // all whole bytes that fit, at once
            const unsigned bytes = (63 - filled_) / 8;
            accumulator_ = accumulator_ << (8 * bytes) | load64(in_.data() + next_) >> (64 - 8 * bytes);
            next_ += bytes;
            filled_ += 8 * bytes;
            return;
        }
        while (filled_ <= 56) {
            const std::uint8_t byte = next_ < in_.size() ? in_[next_] : std::uint8_t{0};
            ++next_;
            accumulator_ = (accumulator_ << 8) | byte;
            filled_ += 8;
        }
    }

    std::span<const std::uint8_t> in_;
    std::size_t next_ = 0;
    std::uint64_t accumulator_ = 0;
    std::uint64_t consumed_ = 0;
    unsigned filled_ = 0;
};

}  // namespace featcodec
