// One level per symbol: predicted from its neighbours, the difference Rice-coded (Exp-Golomb codes would take 1 % of a small stream more),
// runs of absent symbols by their length.
#include "levels8.hpp"

#include <algorithm>
#include <bit>

namespace featcodec {
namespace {

constexpr unsigned kParameterBits = 2;  // Rice parameter 0..3, picked by exact cost
constexpr int kFirstPrediction = 6;

// The median edge detector of JPEG-LS over the table as rows of `row` levels, a power of two; the level before where there are no
// rows. Without a branch: levels are as good as random.
inline int predict(const std::uint8_t* levels, unsigned i, unsigned row) {
    if (i == 0) return kFirstPrediction;
    const int before = levels[i - 1];
    if (i < row || row == 0) return before;
    const bool starts_row = (i & (row - 1)) == 0;
    const int up = levels[i - row];
    const int left = starts_row ? up : before;
    const int corner = starts_row ? up : levels[i - row - 1];  // of three alike the median is what they are
    return std::max(std::min(left, up), std::min(std::max(left, up), left + up - corner));
}

// Further absent symbols after the one at i.
unsigned absent_run(const std::uint8_t* levels, unsigned i, unsigned alphabet, unsigned absent) {
    unsigned run = 0;
    while (i + 1 + run < alphabet && levels[i + 1 + run] == absent) ++run;
    return run;
}

}  // namespace

void levels8_write(BitWriter& writer, const std::uint8_t* levels, unsigned alphabet, unsigned row, unsigned absent) {
    std::uint8_t codes[256];
    std::uint16_t runs[256];  // what is sent of a run of absent symbols: their number; 0: nothing
    unsigned num_codes = 0;
    for (unsigned i = 0; i < alphabet; ++i, ++num_codes) {
        codes[num_codes] = static_cast<std::uint8_t>(zigzag(levels[i] - predict(levels, i, row)));
        runs[num_codes] = 0;
        if (levels[i] != absent || i + 1 == alphabet) continue;
        const unsigned run = absent_run(levels, i, alphabet, absent);
        runs[num_codes] = static_cast<std::uint16_t>(run + 1);
        i += run;
    }
    unsigned costs[4] = {};
    for (unsigned j = 0; j < num_codes; ++j) {
        for (unsigned k = 0; k < 4; ++k) costs[k] += (codes[j] >> k) + 1 + k;
    }
    unsigned parameter = 0;
    for (unsigned k = 1; k < 4; ++k) parameter = costs[k] < costs[parameter] ? k : parameter;

    BitWriter out = writer;  // in registers: a byte written may be one of the caller's
    out.put(parameter, kParameterBits);
    for (unsigned j = 0; j < num_codes; ++j) {
        const unsigned quotient = codes[j] >> parameter;  // below 32: a level's difference is below 16
        out.put((1u << parameter) | (codes[j] & ((1u << parameter) - 1)), quotient + 1 + parameter);
        if (runs[j] != 0) out.put_golomb(runs[j] - 1u, 0);
    }
    writer = out;
}

Status levels8_read(BitReader& reader, std::uint8_t* levels, unsigned alphabet, unsigned row, unsigned absent) {
    BitReader in = reader;  // in registers: a store of a level may be one into the caller's
    const unsigned parameter = in.get(kParameterBits);
    for (unsigned i = 0; i < alphabet; ++i) {
        const auto quotient = static_cast<unsigned>(std::countl_zero(in.peek(32)));
        if (quotient > 31) return in.overrun() ? Status::truncated : Status::bad_table;
        in.skip(quotient + 1);
        const unsigned code = (quotient << parameter) | in.get(parameter);
        const int level = predict(levels, i, row) + unzigzag(code);
        if (level < 1 || level > static_cast<int>(absent)) return Status::bad_table;
        levels[i] = static_cast<std::uint8_t>(level);
        if (static_cast<unsigned>(level) != absent || i + 1 == alphabet) continue;
        std::uint32_t run = 0;
        if (!in.get_golomb(run, 0)) return in.overrun() ? Status::truncated : Status::bad_table;
        if (run > alphabet - i - 1) return Status::bad_table;
        for (; run > 0; --run) levels[++i] = static_cast<std::uint8_t>(absent);
    }
    reader = in;
    return in.overrun() ? Status::truncated : Status::ok;
}

}  // namespace featcodec
