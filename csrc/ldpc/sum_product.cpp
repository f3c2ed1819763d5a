// Layered sum-product in float: the decoders' oracle. Channel values in, layers over the rows, a true syndrome test, packed bits out.
#include "sum_product.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "sum_product_kernel.hpp"

namespace featcodec::ldpc {
namespace {

constexpr float kKnown = 1e4f;  // a known zero outweighs every message that it can get

void check_arguments(const Code& code, std::size_t llrs, std::size_t blocks, unsigned max_iterations, const Decoded& out) {
    const auto wanted = [](const char* what, std::size_t got, std::size_t size) {
        if (got != size) throw std::invalid_argument(std::string(what) + " must hold " + std::to_string(size) + ", got " + std::to_string(got));
    };
    if (max_iterations < 1 || max_iterations > 1000) throw std::invalid_argument("max_iterations must be 1..1000, got " + std::to_string(max_iterations));
    wanted("llr", llrs, blocks * code.n);
    wanted("bits", out.bits.size(), blocks * ((code.k + 7) / 8));
    wanted("ok", out.ok.size(), blocks);
    wanted("iterations", out.iterations.size(), blocks);
}

// One block's decoder: the code's edges in layer order and the state of a block.
class BlockDecoder {
public:
    BlockDecoder(LayerFunction layer, const Code& code) : layer_(layer), code_(code), posterior_(code.mother_bits()), hard_(code.mother_bits()), sums_(code.z),
          padded_((code.z + kColumnStep - 1) / kColumnStep * kColumnStep) {
        std::size_t widest = 0;
        std::uint32_t messages = 0;
        for (unsigned row = 0; row < code.matrix.rows; ++row) {
            row_begin_.push_back(edges_.size());
            for (unsigned col = 0; col < code.matrix.cols; ++col) {
                if (code.matrix.at(row, col) < 0) continue;
                edges_.push_back({col * code.z, static_cast<std::uint32_t>(code.matrix.at(row, col)), messages});
                messages += static_cast<std::uint32_t>(padded_);
            }
            widest = std::max(widest, edges_.size() - row_begin_.back());
        }
        row_begin_.push_back(edges_.size());
        messages_.resize(messages);
        scratch_.resize((3 * widest + 2) * padded_);
    }

    // Returns ok; iterations: how many were run.
    bool run(const float* llr, unsigned max_iterations, bool early_stop, std::uint16_t& iterations) {
        start(llr);
        for (unsigned i = 1;; ++i) {
            for (unsigned row = 0; row < code_.matrix.rows; ++row)
                layer_(edges_.data() + row_begin_[row], row_begin_[row + 1] - row_begin_[row], code_.z, padded_, posterior_.data(), messages_.data(), scratch_.data());
            const bool last = i == max_iterations;
            if (!last && !early_stop) continue;
            const bool ok = holds();
            if (!ok && !last) continue;
            iterations = static_cast<std::uint16_t>(i);
            return ok;
        }
    }

    void pack(std::uint8_t* bits) const {
        std::fill(bits, bits + (code_.k + 7) / 8, std::uint8_t{0});
        for (unsigned i = 0; i < code_.k; ++i) bits[i / 8] |= static_cast<std::uint8_t>(hard_[i] << (7 - i % 8));
    }

private:
    void start(const float* llr) {
        std::fill(messages_.begin(), messages_.end(), 0.f);
        std::fill(posterior_.begin(), posterior_.end(), 0.f);
        for (const Segment& segment : code_.segments)
            for (unsigned i = 0; i < segment.count; ++i) {
                const float x = llr[segment.sent + i];
                posterior_[segment.mother + i] += x == x ? std::clamp(x, -kMaxMessage, kMaxMessage) : 0.f;  // NaN says nothing
            }
        for (float& p : posterior_) p = std::clamp(p, -kMaxMessage, kMaxMessage);
        std::fill(posterior_.begin() + code_.k, posterior_.begin() + code_.info_cols * code_.z, kKnown);
    }

    // Takes the hard decisions; true where every check holds on them and every information bit is decided.
    bool holds() {
        for (std::size_t i = 0; i < hard_.size(); ++i) hard_[i] = posterior_[i] < 0;
        for (unsigned row = 0; row < code_.matrix.rows; ++row) {
            std::fill(sums_.begin(), sums_.end(), std::uint8_t{0});
            for (std::size_t e = row_begin_[row]; e < row_begin_[row + 1]; ++e) {
                const std::uint8_t* const column = hard_.data() + edges_[e].column;
                const std::size_t shift = edges_[e].shift, first = code_.z - shift;
                for (std::size_t r = 0; r < first; ++r) sums_[r] ^= column[r + shift];
                for (std::size_t r = first; r < code_.z; ++r) sums_[r] ^= column[r - first];
            }
            if (std::find(sums_.begin(), sums_.end(), std::uint8_t{1}) != sums_.end()) return false;
        }
        return std::find(posterior_.begin(), posterior_.begin() + code_.k, 0.f) == posterior_.begin() + code_.k;
    }

    LayerFunction layer_;
    const Code& code_;
    std::vector<LayerEdge> edges_;
    std::vector<std::size_t> row_begin_;
    std::vector<float> posterior_, messages_, scratch_;
    std::vector<std::uint8_t> hard_, sums_;
    std::size_t padded_;
};

}  // namespace

void decode_sum_product(Isa isa, const Code& code, std::span<const float> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) {
    check_arguments(code, llr.size(), blocks, max_iterations, out);
    BlockDecoder decoder(kernels_of(isa).sum_product_layer, code);
    for (std::size_t block = 0; block < blocks; ++block) {
        out.ok[block] = decoder.run(llr.data() + block * code.n, max_iterations, early_stop, out.iterations[block]);
        decoder.pack(out.bits.data() + block * ((code.k + 7) / 8));
    }
}

}  // namespace featcodec::ldpc
