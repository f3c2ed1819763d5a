// The erasure decoder's plan: the blocks of the matrix by row and by column, and the shifts that turn columns into rows and back.
#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "erasure.hpp"

namespace featcodec::ldpc {
namespace {

Extension make_extension(unsigned z) {
    Extension ext{};
    const unsigned words = (z + 63) / 64;
    for (unsigned i = 0; i < kExtensionWords; ++i) {
        const unsigned at = 64 * i % z, word = at / 64, bit = at % 64;
        const bool spills = bit != 0 && word + 1 < words, wraps = z - at < 64;
        ext.low[i] = word;
        ext.low_right[i] = bit;
        ext.high[i] = spills ? word + 1 : 0;
        ext.high_left[i] = spills ? 64 - bit : 64;
        ext.wrap_left[i] = wraps ? z - at : 64;
        for (unsigned half = 0; half < 2; ++half) {
            ext.low_halves[2 * i + half] = static_cast<std::uint32_t>(2 * ext.low[i] + half);
            ext.high_halves[2 * i + half] = static_cast<std::uint32_t>(2 * ext.high[i] + half);
        }
    }
    return ext;
}

}  // namespace

ErasurePlan::ErasurePlan(const Code& code)
    : k_(code.k),
      n_(code.n),
      info_columns_(code.info_cols),
      sent_whole_(code.segments.size() == 1 && code.segments[0].mother == 0 && code.n == code.mother_bits()),
      segments_(code.segments) {
    if (code.z < 1 || code.z > kMaxLifting) throw std::invalid_argument("the lifting size must be 1..384, got " + std::to_string(code.z));
    view_.rows = code.matrix.rows;
    view_.columns = code.matrix.cols;
    view_.z = code.z;
    view_.words = (code.z + 63) / 64;
    view_.lanes = std::bit_ceil(view_.words);
    view_.stride = view_.words == 1 ? 1 : 2 * view_.lanes;
    for (unsigned w = 0; w < view_.words; ++w) view_.mask[w] = ~std::uint64_t{0};
    if (code.z % 64 != 0) view_.mask[view_.words - 1] >>= 64 - code.z % 64;
    list_blocks(code.matrix);
    make_edges();
}

void ErasurePlan::list_blocks(const Matrix& matrix) {
    const auto list = [&](unsigned outer, unsigned inner, bool rows, std::vector<std::uint32_t>& begin, std::vector<Meeting>& to) {
        begin.push_back(0);
        for (unsigned a = 0; a < outer; ++a) {
            for (unsigned b = 0; b < inner; ++b) {
                const std::int16_t shift = rows ? matrix.at(a, b) : matrix.at(b, a);
                if (shift >= 0) to.push_back({static_cast<std::uint16_t>(b), static_cast<std::uint16_t>(shift)});
            }
            begin.push_back(static_cast<std::uint32_t>(to.size()));
        }
    };
    list(matrix.rows, matrix.cols, true, row_begin_, by_row_);
    list(matrix.cols, matrix.rows, false, column_begin_, by_column_);
}

void ErasurePlan::make_edges() {
    const bool narrow = view_.words == 1;
    for (const Meeting& meeting : by_row_) {
        const unsigned s = meeting.shift, back = view_.z - s;
        PeelEdge edge{};
        edge.column = 2 * view_.stride * meeting.other;
        // In one word the rotation's two shifts are s and z - s; over several they make 64 together.
        edge.bit = narrow ? s : s % 64;
        edge.rest = narrow ? back : 64 - s % 64;
        edge.back_bit = narrow ? back : back % view_.z % 64;
        edge.back_rest = narrow ? s : 64 - edge.back_bit;
        edge.word = static_cast<std::uint16_t>(narrow ? 0 : s / 64);
        edge.back_word = static_cast<std::uint16_t>(narrow ? 0 : back % view_.z / 64);
        edges_.push_back(edge);
    }
    if (!narrow) extension_.push_back(make_extension(view_.z));
    view_.row_begin = row_begin_.data();
    view_.edges = edges_.data();
    view_.meetings = by_row_.data();
    view_.extension = extension_.data();
}

}  // namespace featcodec::ldpc
