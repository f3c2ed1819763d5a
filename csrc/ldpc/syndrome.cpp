// How many parity checks of packed mother codewords fail: rows of rotated packed columns, then a population count.
#include "syndrome.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <string>
#include <vector>

#include "packed_bits.hpp"

namespace featcodec::ldpc {
namespace {

constexpr unsigned kMaxColumnWords = 6;

// XORs `count` bits from bit `position` on into `sum`, from bit `to` on of it.
void add_run(std::uint64_t* sum, unsigned to, const std::uint64_t* words, std::size_t position, unsigned count) {
    for (unsigned i = 0; i < count; i += 64) {
        const std::uint64_t x = read_bits(words, position + i) & top_mask(std::min(count - i, 64u));
        const unsigned at = to + i;
        sum[at / 64] ^= x >> (at % 64);
        sum[at / 64 + 1] ^= x << 1 << (63 - at % 64);
    }
}

std::uint32_t weight_of(const Matrix& matrix, const std::uint64_t* words) {
    std::uint32_t weight = 0;
    for (unsigned row = 0; row < matrix.rows; ++row) {
        std::array<std::uint64_t, kMaxColumnWords + 2> sum{};
        for (unsigned col = 0; col < matrix.cols; ++col) {
            if (matrix.at(row, col) < 0) continue;
            const unsigned shift = static_cast<unsigned>(matrix.at(row, col));
            const std::size_t start = std::size_t{col} * matrix.z;
            add_run(sum.data(), 0, words, start + shift, matrix.z - shift);
            if (shift) add_run(sum.data(), matrix.z - shift, words, start, shift);
        }
        for (std::uint64_t x : sum) weight += static_cast<std::uint32_t>(std::popcount(x));
    }
    return weight;
}

}  // namespace

void syndrome_weight(const Code& code, std::span<const std::uint8_t> mother, std::span<std::uint32_t> weight, std::size_t blocks) {
    const std::size_t bits = code.mother_bits(), stride = bytes_of(bits);
    if (mother.size() != blocks * stride || weight.size() != blocks)
        throw std::invalid_argument("mother must hold " + std::to_string(blocks * stride) + " bytes and weight " + std::to_string(blocks) + ", got " +
                                    std::to_string(mother.size()) + " and " + std::to_string(weight.size()));
    if (code.z > 64 * kMaxColumnWords) throw std::invalid_argument("z must be at most 384, got " + std::to_string(code.z));
    std::vector<std::uint64_t> words(words_of(bits) + 2);
    for (std::size_t block = 0; block < blocks; ++block) {
        load_words(words.data(), 1, mother.data() + block * stride, bits);
        weight[block] = weight_of(code.matrix, words.data());
    }
}

}  // namespace featcodec::ldpc
