// The decoder across frames: a code becomes the flat tables that the vector kernels walk.
#include "min_sum_frames.hpp"

#include <algorithm>
#include <stdexcept>

namespace featcodec::ldpc {
namespace {
using u32 = std::uint32_t;
}  // namespace

void FramesTables::list_edges(const Code& code) {
    row_begin_.push_back(0);
    for (unsigned row = 0; row < code.matrix.rows; ++row) {
        for (unsigned col = 0; col < code.matrix.cols; ++col) {
            const int shift = code.matrix.at(row, col);
            if (shift < 0) continue;
            edge_col_.push_back(static_cast<std::uint16_t>(col));
            edge_shift_.push_back(static_cast<std::uint16_t>(static_cast<unsigned>(shift) % code.z));
        }
        if (edge_col_.size() - row_begin_.back() > kMostCheckBits) throw std::invalid_argument("ldpc: a check has more bits than the decoder across frames takes");
        row_begin_.push_back(static_cast<u32>(edge_col_.size()));
    }
    check_bits_.reserve(edge_col_.size() * code.z);
    for (unsigned row = 0; row < code.matrix.rows; ++row)
        for (unsigned r = 0; r < code.z; ++r)
            for (u32 e = row_begin_[row]; e < row_begin_[row + 1]; ++e) {
                const u32 turned = r + edge_shift_[e];
                check_bits_.push_back(8 * (edge_col_[e] * code.z + (turned < code.z ? turned : turned - code.z)));
            }
}

// Splits the segments so that each run either sets its bits for the first time or adds to all of them.
void FramesTables::list_loads(const Code& code) {
    std::vector<std::uint8_t> held(code.mother_bits(), 0);
    for (const Segment& segment : code.segments)
        for (u32 i = 0; i < segment.count;) {
            const u32 begin = i, add = held[segment.mother + i];
            while (i < segment.count && held[segment.mother + i] == add) held[segment.mother + i++] = 1;
            loads_.push_back({segment.sent + begin, segment.mother + begin, i - begin, add});
            plan_.repeats |= add;
        }
    const u32 known_end = code.k + code.known_bits();
    for (u32 i = 0; i < code.mother_bits();) {
        const u32 begin = i;
        const bool known = i >= code.k && i < known_end;
        while (i < code.mother_bits() && held[i] == held[begin] && (i >= code.k && i < known_end) == known) ++i;
        if (known || !held[begin]) fills_.push_back({begin, i - begin, known ? 127 : 0});
    }
}

FramesTables::FramesTables(const Code& code) {
    list_edges(code);
    list_loads(code);
    plan_.k = code.k, plan_.n = code.n, plan_.z = code.z, plan_.rows = code.matrix.rows, plan_.cols = code.matrix.cols;
    plan_.row_begin = row_begin_.data(), plan_.edge_col = edge_col_.data(), plan_.edge_shift = edge_shift_.data();
    plan_.check_bits = check_bits_.data(), plan_.num_messages = check_bits_.size();
    plan_.loads = loads_.data(), plan_.num_loads = loads_.size();
    plan_.fills = fills_.data(), plan_.num_fills = fills_.size();
}

void decode_min_sum_frames(const FramesKernel& kernel, const FramesTables& tables, std::span<const std::int8_t> llr, std::size_t blocks,
                           unsigned max_iterations, bool early_stop, Decoded out) {
    if (blocks == 0) return;
    const FramesPlan& plan = tables.plan();
    thread_local std::vector<std::uint8_t> workspace;
    workspace.resize(std::max(workspace.size(), kernel.workspace_bytes(plan) + 63));
    void* aligned = workspace.data() + (64 - reinterpret_cast<std::uintptr_t>(workspace.data()) % 64) % 64;
    kernel.decode(plan, {llr.data(), blocks, max_iterations, early_stop, out.bits.data(), out.ok.data(), out.iterations.data()}, aligned);
}

}  // namespace featcodec::ldpc
