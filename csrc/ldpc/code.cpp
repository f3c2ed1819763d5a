// Builds Codes from the standards' base matrices: IEEE 802.11n with shortening, 5G NR with TS 38.212's lifting and rate matching (rv 0).
#include <algorithm>
#include <stdexcept>
#include <string>

#include "ldpc.hpp"

namespace featcodec::ldpc {
namespace {

#include "ldpc_tables_nr.inc"
#include "ldpc_tables_wifi.inc"

constexpr unsigned kWifiColumns = 24;
constexpr unsigned kCoreRows = 4;            // NR: the first four rows close the core parity; every later row adds one column of degree 1
constexpr unsigned kPuncturedColumns = 2;    // NR never sends the first two systematic columns
constexpr unsigned kMinNrColumns = 3;        // NR, k <= 4: with fewer columns some rows would hold nothing but their own parity
constexpr unsigned kMaxNrInfoBits = 8448;
constexpr unsigned kMaxBg2InfoBits = 3840;
constexpr unsigned kMaxNrSentBits = 1u << 20;

[[noreturn]] void refuse(const std::string& what, unsigned low, unsigned high, unsigned came) {
    throw std::invalid_argument(what + " must be " + std::to_string(low) + ".." + std::to_string(high) + ", got " + std::to_string(came));
}

unsigned ceil_div(unsigned a, unsigned b) { return (a + b - 1) / b; }

// [length][rate]
constexpr const std::int8_t* kWifiTables[3][4] = {
    {kWifi648R12, kWifi648R23, kWifi648R34, kWifi648R56},
    {kWifi1296R12, kWifi1296R23, kWifi1296R34, kWifi1296R56},
    {kWifi1944R12, kWifi1944R23, kWifi1944R34, kWifi1944R56},
};
constexpr unsigned kWifiRows[4] = {12, 8, 6, 4};

struct BaseGraph {
    const std::int16_t (*entries)[10];
    std::size_t count;
    unsigned rows, info_cols;
};
constexpr BaseGraph kBg1 = {kNrBg1, std::size(kNrBg1), 46, 22};
constexpr BaseGraph kBg2 = {kNrBg2, std::size(kNrBg2), 42, 10};

// TS 38.212 7.2.2, but BG2 never beyond the largest block that it carries.
const BaseGraph& choose_base_graph(unsigned k, unsigned n) {
    const bool bg2 = k <= 292 || (k <= 3824 && 100ull * k <= 67ull * n) || (k <= kMaxBg2InfoBits && 4ull * k <= n);
    return bg2 ? kBg2 : kBg1;
}

// How many systematic columns the lifting size must hold (5.2.2): BG2 leaves columns wholly to fillers for short blocks.
unsigned systematic_columns(const BaseGraph& graph, unsigned k) {
    if (graph.info_cols == kBg1.info_cols) return 22;
    return k > 640 ? 10 : k > 560 ? 9 : k > 192 ? 8 : 6;
}

struct Lifting {
    unsigned z, set;
};

// Table 5.3.2-1: the sizes of set i are a * 2^j up to 384, a being 2, 3, 5, 7, 9, 11, 13, 15.
Lifting smallest_lifting(unsigned columns, unsigned k) {
    constexpr unsigned kOdd[8] = {2, 3, 5, 7, 9, 11, 13, 15};
    Lifting best{1024, 0};
    for (unsigned set = 0; set < 8; ++set)
        for (unsigned z = kOdd[set]; z <= 384; z *= 2)
            if (columns * z >= k && z < best.z) best = {z, set};
    return best;
}

// The circular buffer (5.4.2.1), from the first bit that is not punctured: sent systematic bits, then parity, again and again.
std::vector<Segment> circular_buffer(const Code& code, unsigned parity_bits) {
    const unsigned punctured = std::min(kPuncturedColumns * code.z, code.k);
    const Segment pieces[2] = {{0, punctured, code.k - punctured}, {0, code.info_cols * code.z, parity_bits}};
    std::vector<Segment> segments;
    for (unsigned sent = 0; sent < code.n;) {
        for (Segment piece : pieces) {
            const unsigned count = std::min(piece.count, code.n - sent);
            if (count == 0) continue;
            Segment* last = segments.empty() ? nullptr : &segments.back();
            if (last && last->mother + last->count == piece.mother)
                last->count += count;
            else
                segments.push_back({sent, piece.mother, count});
            sent += count;
        }
    }
    return segments;
}

Matrix lift(const BaseGraph& graph, Lifting lifting, unsigned rows, unsigned info_cols) {
    Matrix matrix{rows, info_cols + rows, lifting.z, {}};
    matrix.shifts.assign(std::size_t{matrix.rows} * matrix.cols, std::int16_t{-1});
    for (std::size_t i = 0; i < graph.count; ++i) {
        const auto& entry = graph.entries[i];
        const unsigned row = static_cast<unsigned>(entry[0]), col = static_cast<unsigned>(entry[1]);
        if (row >= rows || (col >= info_cols && col < graph.info_cols)) continue;
        const unsigned kept = col < graph.info_cols ? col : col - graph.info_cols + info_cols;
        matrix.shifts[std::size_t{row} * matrix.cols + kept] = static_cast<std::int16_t>(static_cast<unsigned>(entry[2 + lifting.set]) % lifting.z);
    }
    return matrix;
}

}  // namespace

Code wifi_code(unsigned n, Rate rate, unsigned k, unsigned punctured) {
    const unsigned r = static_cast<unsigned>(rate);
    if (n != 648 && n != 1296 && n != 1944) throw std::invalid_argument("n must be 648, 1296 or 1944, got " + std::to_string(n));
    if (r > 3) throw std::invalid_argument("rate must be 1/2, 2/3, 3/4 or 5/6, got index " + std::to_string(r));
    const unsigned z = n / kWifiColumns, rows = kWifiRows[r], full_cols = kWifiColumns - rows;
    if (k < 1 || k > full_cols * z) refuse("k of this rate at n = " + std::to_string(n), 1, full_cols * z, k);

    if (punctured >= rows * z) refuse("punctured bits of this code", 0, rows * z - 1, punctured);

    Code code;
    code.family = Family::wifi;
    code.k = k;
    code.n = k + rows * z - punctured;
    code.z = z;
    code.info_cols = ceil_div(k, z);
    code.matrix = {rows, code.info_cols + rows, z, {}};
    const std::int8_t* table = kWifiTables[n / 648 - 1][r];
    for (unsigned row = 0; row < rows; ++row)
        for (unsigned col = 0; col < kWifiColumns; ++col)
            if (col < code.info_cols || col >= full_cols) code.matrix.shifts.push_back(table[row * kWifiColumns + col]);
    code.segments.push_back({0, 0, k});
    if (code.known_bits() == 0)
        code.segments[0].count = code.n;
    else
        code.segments.push_back({k, code.info_cols * z, rows * z - punctured});
    return code;
}

Code nr_code(unsigned k, unsigned n) {
    if (k < 1 || k > kMaxNrInfoBits) refuse("k", 1, kMaxNrInfoBits, k);
    if (n < k || n > kMaxNrSentBits) refuse("n of k = " + std::to_string(k), k, kMaxNrSentBits, n);
    const BaseGraph& graph = choose_base_graph(k, n);
    const Lifting lifting = smallest_lifting(systematic_columns(graph, k), k);

    Code code;
    code.family = Family::nr;
    code.k = k;
    code.n = n;
    code.z = lifting.z;
    code.info_cols = std::max(ceil_div(k, lifting.z), kMinNrColumns);
    // A row of degree-1 parity that is not sent says nothing: it goes with its column. The core's rows stay.
    const unsigned systematic = k - std::min(k, kPuncturedColumns * code.z);
    const unsigned sent_parity_cols = ceil_div(n - std::min(n, systematic), code.z);
    const unsigned rows = std::clamp(sent_parity_cols, kCoreRows, graph.rows);
    code.matrix = lift(graph, lifting, rows, code.info_cols);
    code.segments = circular_buffer(code, rows * code.z);
    return code;
}

}  // namespace featcodec::ldpc
