// One level per symbol: predicted from its neighbours, the difference Rice-coded, runs of absent symbols by their length.
#include "levels8.hpp"

#include <bit>

namespace featcodec {
namespace {

constexpr unsigned kParameterBits = 2;  // Rice parameter 0..3, picked by exact cost
constexpr int kFirstPrediction = 6;

// The median edge detector of JPEG-LS over the table as rows of `row` levels; the level before where there are no rows.
int predict(const std::uint8_t* levels, unsigned i, unsigned row) {
    if (i == 0) return kFirstPrediction;
    if (i < row || row == 0) return levels[i - 1];
    const int up = levels[i - row];
    if (i % row == 0) return up;
    const int left = levels[i - 1];
    const int corner = levels[i - row - 1];
    const int low = left < up ? left : up;
    const int high = left < up ? up : left;
    return corner >= high ? low : corner <= low ? high : left + up - corner;
}

unsigned zigzag(int difference) {
    return difference > 0 ? 2u * static_cast<unsigned>(difference) - 1u : 2u * static_cast<unsigned>(-difference);
}

int unzigzag(unsigned code) {
    const auto half = static_cast<int>((code + 1) >> 1);
    return (code & 1u) != 0 ? half : -half;
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
    std::uint8_t positions[256];
    unsigned num_codes = 0;
    unsigned costs[4] = {};
    for (unsigned i = 0; i < alphabet; ++i) {
        const unsigned code = zigzag(levels[i] - predict(levels, i, row));
        codes[num_codes] = static_cast<std::uint8_t>(code);
        positions[num_codes++] = static_cast<std::uint8_t>(i);
        for (unsigned k = 0; k < 4; ++k) costs[k] += (code >> k) + 1 + k;
        if (levels[i] == absent) i += absent_run(levels, i, alphabet, absent);
    }
    unsigned parameter = 0;
    for (unsigned k = 1; k < 4; ++k) parameter = costs[k] < costs[parameter] ? k : parameter;

    writer.put(parameter, kParameterBits);
    for (unsigned j = 0; j < num_codes; ++j) {
        const unsigned i = positions[j];
        const unsigned quotient = codes[j] >> parameter;  // below 32: a level's difference is below 16
        writer.put((1u << parameter) | (codes[j] & ((1u << parameter) - 1)), quotient + 1 + parameter);
        if (levels[i] == absent && i + 1 < alphabet) writer.put_gamma(absent_run(levels, i, alphabet, absent) + 1);
    }
}

Status levels8_read(BitReader& reader, std::uint8_t* levels, unsigned alphabet, unsigned row, unsigned absent) {
    const unsigned parameter = reader.get(kParameterBits);
    for (unsigned i = 0; i < alphabet; ++i) {
        const auto quotient = static_cast<unsigned>(std::countl_zero(reader.peek(32)));
        if (quotient > 31) return reader.overrun() ? Status::truncated : Status::bad_table;
        reader.skip(quotient + 1);
        const unsigned code = (quotient << parameter) | reader.get(parameter);
        const int level = predict(levels, i, row) + unzigzag(code);
        if (level < 1 || level > static_cast<int>(absent)) return Status::bad_table;
        levels[i] = static_cast<std::uint8_t>(level);
        if (static_cast<unsigned>(level) != absent || i + 1 == alphabet) continue;
        std::uint32_t run = 0;
        if (!reader.get_gamma(run)) return reader.overrun() ? Status::truncated : Status::bad_table;
        if (--run > alphabet - i - 1) return Status::bad_table;
        for (; run > 0; --run) levels[++i] = static_cast<std::uint8_t>(absent);
    }
    return reader.overrun() ? Status::truncated : Status::ok;
}

}  // namespace featcodec
