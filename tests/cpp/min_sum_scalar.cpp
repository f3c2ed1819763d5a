// The layered offset min-sum decoder in plain loops: defines the result that the vector kernels reproduce.
#include "min_sum_scalar.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace featcodec::ldpc {
namespace {

constexpr int kMessageLimit = 31;  // magnitudes that a check compares, and channel values
constexpr int kOffset = 1;         // what a check takes off its smallest magnitude
constexpr int kKnownZero = 127;

std::int8_t saturate(int value) { return static_cast<std::int8_t>(std::clamp(value, -128, 127)); }

struct Edge {
    unsigned col, shift;
};

// One frame's decoder: `posterior` per mother bit, `message` per edge (a base edge's z messages side by side, row-in-block first).
class ScalarDecoder {
public:
    explicit ScalarDecoder(const Code& code) : code_(code), posterior_(code.mother_bits()) {
        row_begin_.push_back(0);
        for (unsigned row = 0; row < code.matrix.rows; ++row) {
            for (unsigned col = 0; col < code.matrix.cols; ++col)
                if (const int shift = code.matrix.at(row, col); shift >= 0) edges_.push_back({col, static_cast<unsigned>(shift) % code.z});
            row_begin_.push_back(edges_.size());
        }
        message_.resize(edges_.size() * code.z);
    }

    void load(const std::int8_t* llr) {
        std::vector<int> sum(code_.mother_bits(), 0);
        for (const Segment& segment : code_.segments)
            for (unsigned i = 0; i < segment.count; ++i) {
                int& at = sum[segment.mother + i];
                at = std::clamp(at + std::max<int>(llr[segment.sent + i], -127), -127, 127);
            }
        std::transform(sum.begin(), sum.end(), posterior_.begin(), [](int s) { return saturate(std::clamp(s, -kMessageLimit, kMessageLimit)); });
        std::fill_n(posterior_.begin() + code_.k, code_.known_bits(), saturate(kKnownZero));
        std::fill(message_.begin(), message_.end(), std::int8_t{0});
    }

    void iterate() {
        for (unsigned row = 0; row < code_.matrix.rows; ++row)
            for (unsigned r = 0; r < code_.z; ++r) update_check(row, r);
    }

    // Every check holds on the hard decisions and no information bit is undecided.
    bool consistent() const {
        for (unsigned row = 0; row < code_.matrix.rows; ++row)
            for (unsigned r = 0; r < code_.z; ++r) {
                bool odd = false;
                for (std::size_t e = row_begin_[row]; e < row_begin_[row + 1]; ++e) odd ^= posterior_[bit_of(e, r)] < 0;
                if (odd) return false;
            }
        return std::none_of(posterior_.begin(), posterior_.begin() + code_.k, [](std::int8_t p) { return p == 0; });
    }

    void pack(std::uint8_t* bits) const {
        std::fill_n(bits, (code_.k + 7) / 8, std::uint8_t{0});
        for (unsigned i = 0; i < code_.k; ++i)
            if (posterior_[i] < 0) bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (0x80u >> (i % 8)));
    }

private:
    std::size_t bit_of(std::size_t edge, unsigned r) const {
        return std::size_t{edges_[edge].col} * code_.z + (r + edges_[edge].shift) % code_.z;
    }

    void update_check(unsigned row, unsigned r) {
        const std::size_t begin = row_begin_[row], end = row_begin_[row + 1];
        int smallest = kMessageLimit, second = kMessageLimit;
        bool odd = false;
        for (std::size_t e = begin; e < end; ++e) {
            // The posterior without what this check said last time: kept in the posterior's place until the second pass.
            std::int8_t& p = posterior_[bit_of(e, r)];
            p = saturate(p - message_[e * code_.z + r]);
            const int magnitude = std::min(std::abs(int{p}), kMessageLimit);
            second = std::min(second, std::max(smallest, magnitude));
            smallest = std::min(smallest, magnitude);
            odd ^= p < 0;
        }
        for (std::size_t e = begin; e < end; ++e) {
            std::int8_t& p = posterior_[bit_of(e, r)];
            const int magnitude = std::min(std::abs(int{p}), kMessageLimit);
            const int others = std::max((magnitude == smallest ? second : smallest) - kOffset, 0);
            const int message = (odd != (p < 0)) ? -others : others;
            message_[e * code_.z + r] = static_cast<std::int8_t>(message);
            p = saturate(p + message);
        }
    }

    const Code& code_;
    std::vector<Edge> edges_;             // by base row
    std::vector<std::size_t> row_begin_;  // rows + 1 places in edges_
    std::vector<std::int8_t> posterior_, message_;
};

}  // namespace

void decode_min_sum_scalar(const Code& code, std::span<const std::int8_t> llr, std::size_t blocks, unsigned max_iterations, bool early_stop, Decoded out) {
    ScalarDecoder decoder(code);
    const std::size_t stride = (code.k + 7) / 8;
    for (std::size_t b = 0; b < blocks; ++b) {
        decoder.load(llr.data() + b * code.n);
        unsigned iterations = 0;
        bool ok = false;
        while (iterations < max_iterations && !ok) {
            decoder.iterate();
            ++iterations;
            if (early_stop || iterations == max_iterations) ok = decoder.consistent();
        }
        decoder.pack(out.bits.data() + b * stride);
        out.ok[b] = ok;
        out.iterations[b] = static_cast<std::uint16_t>(iterations);
    }
}

}  // namespace featcodec::ldpc
