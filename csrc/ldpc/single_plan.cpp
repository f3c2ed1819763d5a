// Builds the one-frame decoder's schedule: where each column stands and how far each use turns it.
#include <algorithm>
#include <stdexcept>

#include "kernels.hpp"
#include "single.hpp"

namespace featcodec::ldpc::single {

namespace {

std::uint32_t round_up(std::uint32_t value, std::uint32_t step) { return (value + step - 1) / step * step; }

// Whether a mother bit is sent more than once: the parts' mother ranges overlap.
bool overlaps(std::vector<Part> parts) {
    std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.mother < b.mother; });
    for (std::size_t i = 1; i < parts.size(); ++i)
        if (parts[i].mother < parts[i - 1].mother + parts[i - 1].count) return true;
    return false;
}

// Each row's columns, those first that a row soon after needs: a layer then waits for less of the one before. The order changes no result.
std::vector<std::vector<unsigned>> order_of_use(const Matrix& matrix) {
    std::vector<std::vector<unsigned>> order(matrix.rows);
    for (unsigned row = 0; row < matrix.rows; ++row) {
        const auto wait = [&](unsigned col) {
            unsigned rows = 1;
            while (matrix.at((row + rows) % matrix.rows, col) < 0) ++rows;
            return rows;
        };
        for (unsigned col = 0; col < matrix.cols; ++col)
            if (matrix.at(row, col) >= 0) order[row].push_back(col);
        std::stable_sort(order[row].begin(), order[row].end(), [&](unsigned a, unsigned b) { return wait(a) < wait(b); });
    }
    return order;
}

}  // namespace

Plan::Plan(const Code& code, Isa isa) : n_(code.n), decode_block_(kernels_of(isa).decode_block) {
    const Matrix& matrix = code.matrix;
    shape_.z = code.z;
    shape_.rows = matrix.rows;
    shape_.cols = matrix.cols;
    shape_.k = code.k;
    shape_.known_begin = code.k;
    shape_.known_end = code.info_cols * code.z;
    shape_.mother_bits = matrix.cols * code.z;
    for (const Segment& segment : code.segments) parts_.push_back({segment.sent, segment.mother, segment.count});
    shape_.num_parts = static_cast<std::uint32_t>(parts_.size());
    shape_.repeats = overlaps(parts_);

    std::size_t num_edges = 0;
    for (unsigned row = 0; row < matrix.rows; ++row) {
        unsigned degree = 0;
        for (unsigned col = 0; col < matrix.cols; ++col) degree += matrix.at(row, col) >= 0;
        if (degree > kMaxDegree) throw std::invalid_argument("a check of more blocks than any known code has");
        degrees_.push_back(static_cast<std::uint8_t>(degree));
        num_edges += degree;
    }
    choose_layout(isa);
    if (shape_.layout == Layout::turned)
        for (unsigned i = 0; i < 2 * code.z + kMaxLanes; ++i) ring_.push_back(static_cast<std::uint8_t>(i % code.z));
    lay_out_workspace(num_edges);
    schedule(matrix);
}

// Narrow vectors where they waste fewer lanes: two narrow ones cost about one wide one.
void Plan::choose_layout(Isa isa) {
    const std::uint32_t narrow_chunks = (shape_.z + 31) / 32;
    const bool turned = isa == Isa::avx512vbmi && shape_.z <= 64;
    shape_.layout = turned ? Layout::turned : Layout::mirrored;
    shape_.lanes = decode_block_ == decode_block_scalar ? 1 : isa == Isa::avx2 || narrow_chunks % 2 == 1 ? 32 : 64;
    shape_.chunks = (shape_.z + shape_.lanes - 1) / shape_.lanes;
}

void Plan::lay_out_workspace(std::size_t num_edges) {
    const std::uint32_t bytes = shape_.chunks * shape_.lanes;
    stride_ = shape_.layout == Layout::turned ? bytes : round_up(2 * shape_.z + shape_.lanes, kMaxLanes);
    copy_ = shape_.chunks == 1 ? 0 : shape_.cols * stride_;
    const std::uint32_t columns_size = shape_.cols * stride_ + copy_ + kMaxLanes;
    shape_.messages = round_up(columns_size, kMaxLanes);
    shape_.messages_size = static_cast<std::uint32_t>(num_edges) * bytes;
    shape_.natural = round_up(shape_.messages + shape_.messages_size, kMaxLanes);
    shape_.natural_size = round_up(shape_.mother_bits, kMaxLanes) + 2 * kMaxLanes;
    workspace_size_ = shape_.natural + shape_.natural_size;
}

void Plan::schedule(const Matrix& matrix) {
    const std::uint32_t z = shape_.z;
    const auto shift_of = [&](unsigned row, unsigned col) { return static_cast<std::uint32_t>(matrix.at(row, col)) % z; };
    const std::vector<std::vector<unsigned>> order = order_of_use(matrix);
    std::vector<std::uint32_t> last(matrix.cols, 0);  // a column begins as its last use in an iteration leaves it, so that all iterations are alike
    for (unsigned row = 0; row < matrix.rows; ++row)
        for (const unsigned col : order[row]) last[col] = shift_of(row, col);
    std::vector<std::uint32_t> place(matrix.cols), rotation = last;
    for (unsigned col = 0; col < matrix.cols; ++col) place[col] = col * stride_;
    const auto edge_at = [&](std::uint32_t from, std::uint32_t turn) {
        return Edge{shape_.layout == Layout::mirrored ? from + turn : from, 0, turn};
    };
    for (unsigned odd = 0; odd < 2; ++odd) {
        for (unsigned col = 0; col < matrix.cols; ++col) columns_[odd].push_back({place[col], last[col], (z - last[col]) % z});
        for (unsigned row = 0; row < matrix.rows; ++row) {
            for (const unsigned col : order[row]) {
                Edge edge = edge_at(place[col], (shift_of(row, col) + z - rotation[col]) % z);
                const std::uint32_t first = col * stride_;
                place[col] = copy_ != 0 && place[col] == first ? first + copy_ : first;
                edge.write = place[col];
                rotation[col] = shift_of(row, col);
                edges_[odd].push_back(edge);
            }
        }
        for (unsigned row = 0; row < matrix.rows; ++row)
            for (const unsigned col : order[row]) checks_[odd].push_back(edge_at(place[col], (shift_of(row, col) + z - last[col]) % z));
    }
}

View Plan::view() const {
    View view = shape_;
    view.degrees = degrees_.data();
    view.ring = ring_.data();
    view.parts = parts_.data();
    for (unsigned odd = 0; odd < 2; ++odd) {
        view.edges[odd] = edges_[odd].data();
        view.checks[odd] = checks_[odd].data();
        view.columns[odd] = columns_[odd].data();
    }
    return view;
}

}  // namespace featcodec::ldpc::single
