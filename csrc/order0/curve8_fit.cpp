// The encoder's choice of a curve: knots from the mean counts around them, for a few spacings and units; of the best, symbols that
// stand off it become exceptions, and knots move where that saves bits. Costs are bits of the whole stream.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "bits.hpp"
#include "curve8.hpp"

namespace featcodec {
namespace {

constexpr int kFine = 256;            // parts of a level in which counts are measured
constexpr unsigned kExceptionBits = 16;
constexpr double kSpike = 2.5;        // times its neighbours, where a symbol is an exception from the start
constexpr unsigned kNoRareBits = 4;    // up to this width of symbols each is a knot and none is rare
constexpr unsigned kFewSymbols = 64;   // fewer: every spacing is tried
constexpr unsigned kFirstSpacing = 3;  // else this one first, and others from there while they gain

// 4096 * log2(1 + (i + .5) / 256): a level is 256 of these.
constexpr std::array<std::uint16_t, 256> make_logarithms() {
    std::array<std::uint16_t, 256> table{};
    for (unsigned i = 0; i < 256; ++i) {
        const double s = (i + 0.5) / (512 + i + 0.5);  // artanh's argument
        double term = s;
        double sum = 0;
        for (int k = 1; k < 24; k += 2, term *= s * s) sum += term / k;
        table[i] = static_cast<std::uint16_t>(4096 * 2.885390081777927 * sum + 0.5);
    }
    return table;
}
constexpr auto kLogarithms = make_logarithms();

// kFine * kCurveOctave times the binary logarithm of value >= 1.
int fine_log(std::uint32_t value) {
    const int exponent = std::bit_width(value) - 1;
    return (exponent << 12) + kLogarithms[((value << (31 - exponent)) >> 23) & 255];
}

// What a symbol of each level counts for: its weight, and its level; those of rare symbols depend on the curve.
struct Worth {
    double weight[kCurveMaxLevel + 1];
    double level[kCurveMaxLevel + 1];
};

constexpr Worth make_worth() {
    Worth worth{};
    for (unsigned level = 0; level <= kCurveMaxLevel; ++level) {
        worth.weight[level] = curve8_weight(level);
        worth.level[level] = level;
    }
    return worth;
}
constexpr Worth kWorth = make_worth();

class Fit {
public:
    Fit(const ByteCounts& counts, unsigned bits) : counts_(counts), bits_(bits) {
        for (unsigned i = 0; i < 1u << bits; ++i) {
            total_ += counts[i];
            if (counts[i] != 0) curve_.last = i;
        }
        curve_.last = std::max(curve_.last, 1u);
        one_ = kFine * static_cast<int>(kCurveOne + kCurveOctave * kRansProbBits) - fine_log(total_);
    }

    void run(Curve8& best) {
        mark_spikes();
        unsigned most = 0;
        while (bits_ > kNoRareBits && most < kCurveMaxSpacing && curve_.last >> most > 3) ++most;
        const unsigned first = curve_.last < kFewSymbols ? 0 : kFirstSpacing;
        const auto gains = [&](unsigned spacing) { return keep_if_better(spacing, usual_coarseness(spacing), best); };
        gains(first);
        for (unsigned spacing = first + 1; spacing <= most && (gains(spacing) || first == 0); ++spacing) {}
        for (unsigned spacing = first; best.spacing == spacing && spacing > 0 && gains(spacing - 1); --spacing) {}
        const unsigned usual = best.coarseness;
        if (usual > 0) keep_if_better(best.spacing, usual - 1, best);
        if (usual < kCurveMaxCoarseness && best.coarseness == usual) keep_if_better(best.spacing, usual + 1, best);
        if (best.spacing > 0 && add_exceptions(best)) keep_if_better(best.spacing, best.coarseness, best);
        curve_ = best;
        weigh();
        move_knots();
        weigh();
        best = curve_;
        best.rare_level = static_cast<std::uint8_t>(rare_total_ > 0 ? rare_symbols_level() : 0);
    }

private:
    // The level of `count` of the symbols, in parts.
    int fine_level(std::uint32_t count) const { return count == 0 ? -1 : one_ + fine_log(count); }

    static unsigned to_level(int fine) {
        return static_cast<unsigned>(std::clamp(fine + kFine / 2, 0, static_cast<int>(kCurveMaxLevel) * kFine)) / kFine;
    }

    // A knot's unit that is worth its bits, from how often the symbols around it occur.
    unsigned usual_coarseness(unsigned spacing) const {
        const std::uint64_t near_knot = (std::uint64_t{total_} << spacing) / (curve_.last + 1);
        unsigned coarseness = 0;
        while (coarseness < kCurveMaxCoarseness && near_knot << (2 * coarseness) < 8192) ++coarseness;
        return coarseness;
    }

    void mark_spikes() {
        for (unsigned i = 0; i <= curve_.last; ++i) {
            const std::uint32_t before = i > 0 ? counts_[i - 1] : 0;
            const std::uint32_t after = i < curve_.last ? counts_[i + 1] : 0;
            const bool spike = counts_[i] > kSpike * std::max(before, after) && std::uint64_t{counts_[i]} * kRansTotal > std::uint64_t{16} * total_;
            off_curve_[i] = spike;
        }
    }

    bool keep_if_better(unsigned spacing, unsigned coarseness, Curve8& best) {
        curve_.spacing = spacing;
        curve_.coarseness = coarseness;
        place_exceptions();
        place_knots();
        const double cost = weigh();
        if (cost >= best_cost_) return false;
        best_cost_ = cost;
        best = curve_;
        return true;
    }

    // Without lines between knots no symbol stands off.
    void place_exceptions() {
        curve_.num_exceptions = 0;
        if (curve_.spacing == 0) return;
        for (unsigned i = 0; i <= curve_.last; ++i) {
            if (!off_curve_[i]) continue;
            curve_.symbols[curve_.num_exceptions] = static_cast<std::uint8_t>(i);
            curve_.levels[curve_.num_exceptions++] = static_cast<std::uint8_t>(to_level(fine_level(counts_[i])));
        }
    }

    void place_knots() {
        const unsigned width = 1u << curve_.spacing;
        const int half = kFine << curve_.coarseness >> 1;
        const int most = static_cast<int>(kCurveMaxLevel >> curve_.coarseness);
        int value = curve8_first_knot(curve_.coarseness);
        for (unsigned j = 0; j < curve_.num_knots(); ++j) {
            const unsigned at = j << curve_.spacing;
            const unsigned first = at > width / 2 ? at - width / 2 : 0;
            const unsigned end = std::min(at + (width + 1) / 2, curve_.last + 1);
            std::uint32_t sum = 0;
            std::uint32_t members = 0;
            for (unsigned i = first; i < end; ++i) {
                const bool on = width == 1 || !off_curve_[i];
                sum += on ? counts_[i] : 0;
                members += on;
            }
            // Where nothing is known, as the knot before: the shortest code.
            if (sum > 0) value = (fine_level(sum) - fine_log(members) + half) >> (8 + curve_.coarseness);
            else if (members > 0) value = 0;
            value = std::clamp(value, least_value(j), most);
            curve_.knots[j] = static_cast<std::uint8_t>(value);
        }
    }

    // Of knot j. Where symbols are few, searching for markers would cost more time than rare symbols cost bits.
    int least_value(unsigned j) const {
        if (bits_ > kNoRareBits || counts_[j] == 0) return 0;
        return static_cast<int>((kCurveRare + (1u << curve_.coarseness) - 1) >> curve_.coarseness);
    }

    unsigned knot_bits(int before, int value) const {
        return before == 0 && value == 0 ? 0 : golomb_bits(curve8_knot_code(before, value), order_);
    }

    unsigned all_knot_bits() const {
        int before = curve8_first_knot(curve_.coarseness);
        unsigned sum = 0;
        for (unsigned j = 0; j < curve_.num_knots(); ++j) {
            sum += knot_bits(before, curve_.knots[j]);
            before = curve_.knots[j];
        }
        return sum;
    }

    // Sets what moves are judged by, and returns the cost in bits.
    double weigh() {
        curve8_levels(curve_, levels_);
        rare_total_ = 0;
        unsigned rare = 0;
        for (unsigned i = 0; i <= curve_.last; ++i) {
            const bool is_rare = levels_[i] < kCurveRare;
            rare += is_rare;
            rare_total_ += is_rare ? counts_[i] : 0;
        }
        // As if each rare symbol had its share of their frequency.
        const unsigned level = rare_symbols_level();
        std::fill_n(worth_.level, kCurveRare, rare_total_ > 0 ? level - kCurveOctave * log2_of(rare) : 0.0);
        std::fill_n(worth_.weight, kCurveRare, rare_total_ > 0 ? kWorth.weight[level] / rare : 0.0);
        double product = 0;
        weight_ = 0;
        for (unsigned i = 0; i <= curve_.last; ++i) {
            product += counts_[i] * worth_.level[levels_[i]];
            weight_ += worth_.weight[levels_[i]];
        }
        const unsigned knot_cost = pick_order();
        return total_ * log2_of(static_cast<unsigned>(weight_) + 1) - product / kCurveOctave + knot_cost + curve_.num_exceptions * (bits_ + 8.0);
    }

    // Of the knots' codes; returns the bits of all knots.
    unsigned pick_order() {
        order_ = 0;
        unsigned cost = all_knot_bits();
        for (;;) {
            ++order_;
            const unsigned next = all_knot_bits();
            if (next >= cost) break;
            cost = next;
        }
        --order_;
        return cost;
    }

    unsigned rare_symbols_level() const { return std::max(to_level(fine_level(rare_total_)), kCurveOne); }

    // Symbols whose own level saves more than it costs; false where there are none.
    bool add_exceptions(const Curve8& best) {
        std::uint8_t levels[256];
        curve8_levels(best, levels);
        bool any = false;
        for (unsigned i = 0; i <= best.last; ++i) {
            if (off_curve_[i] || counts_[i] == 0) continue;
            const int level = fine_level(counts_[i]);
            const bool rare = levels[i] < kCurveRare;
            if (rare && level < static_cast<int>(kCurveOne) * kFine) continue;
            const double drawn = rare ? 0 : levels[i];
            const double wanted = std::max(level, 0) / static_cast<double>(kFine);
            // Where the curve gives it too much, others have less: to first order in the difference of the weights.
            const double share = kWorth.weight[static_cast<unsigned>(drawn)] / kWorth.weight[kCurveOne] / kRansTotal * total_;
            const double saved = counts_[i] * (wanted - drawn) / kCurveOctave - (counts_[i] - share) * 1.4427;
            off_curve_[i] = saved > bits_ + kExceptionBits;
            any = any || off_curve_[i];
        }
        return any;
    }

    // What setting knot j to `value` changes, in bits; `moved` is the change of the sum of weights.
    double cost_of_move(unsigned j, int value, double& moved) const {
        const int width = 1 << curve_.spacing;
        const int at = static_cast<int>(j) * width;
        const int unit = 1 << curve_.coarseness;
        const int end = static_cast<int>(curve_.num_knots());
        const int left = j > 0 ? curve_.knots[j - 1] : 0;
        const int right = static_cast<int>(j) + 1 < end ? curve_.knots[j + 1] : 0;
        double product = 0;
        moved = 0;
        const int last = std::min(at + width - 1, static_cast<int>(curve_.last));
        for (int i = std::max(at - width + 1, 0); i <= last; ++i) {
            if (curve_.spacing > 0 && off_curve_[i]) continue;
            const int t = i - at;
            const int knots = t < 0 ? left * -t + value * (width + t) : value * (width - t) + right * t;
            const auto level = static_cast<unsigned>((knots * unit) >> curve_.spacing);
            product += counts_[i] * (worth_.level[level] - worth_.level[levels_[i]]);
            moved += worth_.weight[level] - worth_.weight[levels_[i]];
        }
        const double share = moved / weight_;
        double cost = total_ * 1.4426950408889634 * share * (1 - share / 2) - product / kCurveOctave;
        const int before = j > 0 ? curve_.knots[j - 1] : curve8_first_knot(curve_.coarseness);
        const int now = curve_.knots[j];
        cost += static_cast<double>(knot_bits(before, value)) - knot_bits(before, now);
        if (static_cast<int>(j) + 1 < end) cost += static_cast<double>(knot_bits(value, right)) - knot_bits(now, right);
        return cost;
    }

    // Each knot a unit up or down where that saves bits: a second pass would save less than a thousandth.
    void move_knots() {
        const int most = static_cast<int>(kCurveMaxLevel >> curve_.coarseness);
        for (unsigned j = 0; j < curve_.num_knots(); ++j) {
            for (const int step : {-1, 1}) {
                const int value = curve_.knots[j] + step;
                double moved = 0;
                if (value < least_value(j) || value > most || cost_of_move(j, value, moved) >= 0) continue;
                curve_.knots[j] = static_cast<std::uint8_t>(value);
                curve8_levels(curve_, levels_);
                weight_ += moved;
                break;
            }
        }
    }

    const ByteCounts& counts_;
    unsigned bits_;
    std::uint32_t total_ = 0;
    int one_ = 0;                      // the level of a count of one, in parts
    Curve8 curve_{};
    double best_cost_ = HUGE_VAL;
    bool off_curve_[256] = {};
    std::uint8_t levels_[256];
    std::uint32_t rare_total_ = 0;
    Worth worth_ = kWorth;
    double weight_ = 0;                // of all symbols together
    unsigned order_ = 0;
};

}  // namespace

void curve8_fit(const ByteCounts& counts, unsigned bits, Curve8& curve) { Fit(counts, bits).run(curve); }

}  // namespace featcodec
