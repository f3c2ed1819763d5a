// The erasure decoder against plain elimination over the whole matrix: every level, LLRs and packed bits, contradictions, batches.
#include <algorithm>
#include <cstring>

#include "ldpc/erasure.hpp"
#include "test_ldpc.hpp"

namespace ldpc_test {
namespace {

std::vector<const fl::ErasureKernels*> kernels() {
    std::vector<const fl::ErasureKernels*> all = {&fl::kErasureScalar};
#ifdef FEATCODEC_X86
    if (featcodec::isa_supported(featcodec::Isa::avx2)) all.push_back(&fl::kErasureAvx2);
    if (featcodec::isa_supported(featcodec::Isa::avx512)) all.push_back(&fl::kErasureAvx512);
    if (featcodec::isa_supported(featcodec::Isa::avx512vbmi)) all.push_back(&fl::kErasureAvx512Vbmi);
#endif
    return all;
}

struct Erasures : Result {
    Bytes undetermined;
    Erasures(const fl::Code& code, std::size_t blocks) : Result(code, blocks), undetermined(blocks * bytes_of(code.k), 0x55) {}
    bool operator==(const Erasures&) const = default;
};

// ---- the oracle ------------------------------------------------------------------------------------------------------------------
struct Oracle {
    bool consistent = true;
    std::vector<int> value;  // by mother bit: 0, 1, or -1: unknown
};

Oracle place(const fl::Code& code, const std::int8_t* llr) {
    Oracle oracle{true, std::vector<int>(code.mother_bits(), -1)};
    std::fill(oracle.value.begin() + code.k, oracle.value.begin() + code.info_cols * code.z, 0);
    for (const fl::Segment& s : code.segments) {
        for (unsigned i = 0; i < s.count; ++i) {
            if (llr[s.sent + i] == 0) continue;
            int& value = oracle.value[s.mother + i];
            const int bit = llr[s.sent + i] < 0;
            oracle.consistent &= value < 0 || value == bit;
            value = bit;
        }
    }
    return oracle;
}

using Row = std::vector<std::uint64_t>;

void flip(Row& row, std::size_t bit) { row[bit / 64] ^= std::uint64_t{1} << (bit % 64); }
bool get(const Row& row, std::size_t bit) { return (row[bit / 64] >> (bit % 64) & 1) != 0; }

// The checks as sums of unknowns, numbered by `number`, and a constant in the last place.
std::vector<Row> equations(const fl::Code& code, const std::vector<int>& value, const std::vector<std::size_t>& number, std::size_t unknowns) {
    std::vector<Row> rows(std::size_t{code.matrix.rows} * code.z, Row(unknowns / 64 + 1));
    for (std::size_t check = 0; check < rows.size(); ++check) {
        for (unsigned col = 0; col < code.matrix.cols; ++col) {
            const int shift = code.matrix.at(static_cast<unsigned>(check / code.z), col);
            if (shift < 0) continue;
            const std::size_t bit = std::size_t{col} * code.z + (check % code.z + static_cast<unsigned>(shift)) % code.z;
            if (value[bit] != 0) flip(rows[check], value[bit] < 0 ? number[bit] : unknowns);
        }
    }
    return rows;
}

// Reduced row echelon form in place; -> the pivot of each of the first rows.
std::vector<std::size_t> reduce(std::vector<Row>& rows, std::size_t unknowns) {
    std::vector<std::size_t> pivots;
    for (std::size_t c = 0; c < unknowns; ++c) {
        const std::size_t rank = pivots.size();
        std::size_t found = rank;
        while (found < rows.size() && !get(rows[found], c)) ++found;
        if (found == rows.size()) continue;
        std::swap(rows[found], rows[rank]);
        const std::uint64_t* const from = rows[rank].data();
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (i == rank || !get(rows[i], c)) continue;
            std::uint64_t* const to = rows[i].data();
            for (std::size_t w = 0; w < rows[i].size(); ++w) to[w] ^= from[w];
        }
        pivots.push_back(c);
    }
    return pivots;
}

Oracle solve_plainly(const fl::Code& code, const std::int8_t* llr) {
    Oracle oracle = place(code, llr);
    std::vector<std::size_t> unknown, number(oracle.value.size());
    for (std::size_t i = 0; i < oracle.value.size(); ++i) {
        if (oracle.value[i] >= 0) continue;
        number[i] = unknown.size();
        unknown.push_back(i);
    }
    const std::size_t constant = unknown.size();
    std::vector<Row> rows = equations(code, oracle.value, number, constant);
    const std::vector<std::size_t> pivots = reduce(rows, constant);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const bool sum = get(rows[i], constant);
        if (i >= pivots.size()) {
            oracle.consistent &= !sum;
            continue;
        }
        flip(rows[i], pivots[i]);
        if (sum) flip(rows[i], constant);
        if (std::all_of(rows[i].begin(), rows[i].end(), [](std::uint64_t w) { return w == 0; })) oracle.value[unknown[pivots[i]]] = sum;
    }
    return oracle;
}

// ---- decoding --------------------------------------------------------------------------------------------------------------------
Bytes packed_where(const Llrs& llr, unsigned n, bool erased) {
    Bits bits(llr.size());
    std::transform(llr.begin(), llr.end(), bits.begin(), [&](std::int8_t l) { return erased ? l == 0 : l < 0; });
    return pack(bits, n);
}

// All levels and both entries give what the scalar level gives for LLRs, which is returned. Erased and padding bits may be anything.
Erasures decode_everywhere(const fl::Code& code, const Llrs& llr) {
    const fl::ErasurePlan plan(code);
    const std::size_t blocks = llr.size() / code.n, stride = bytes_of(code.n);
    Erasures first(code, blocks);
    fl::decode_erasure(plan, llr, blocks, first.out(), first.undetermined);
    Bytes sent = packed_where(llr, code.n, false), erased = packed_where(llr, code.n, true);
    for (auto i = std::size_t{0}; i < sent.size(); ++i) sent[i] |= static_cast<std::uint8_t>(erased[i] & rng());
    for (std::size_t b = 0; b < blocks && code.n % 8 != 0; ++b) {
        for (Bytes* bytes : {&sent, &erased}) (*bytes)[(b + 1) * stride - 1] |= static_cast<std::uint8_t>(rng() & (0xFFu >> code.n % 8));
    }
    for (const fl::ErasureKernels* level : kernels()) {
        Erasures other(code, blocks), packed(code, blocks);
        fl::decode_erasure(plan, llr, blocks, other.out(), other.undetermined, {level});
        fl::decode_erasure_packed(plan, sent, erased, blocks, packed.out(), packed.undetermined, {level});
        expect(other == first, code, "every level erases alike");
        expect(packed == first, code, "packed bits are decoded as LLRs are");
    }
    return first;
}

// Of one block: what is open of it, no more and no less, is what the free words have bits of; the rest is the oracle's.
void check_completions(const fl::Code& code, const std::int8_t* llr, const Oracle& oracle, bool all) {
    const fl::ErasurePlan plan(code);
    Bytes first_info, first_freedom;
    for (const fl::ErasureKernels* level : kernels()) {
        Bytes info(bytes_of(code.k), 0xA5), freedom;
        const bool found = fl::complete_erasure(plan, {llr, code.n}, 32, info, freedom, {level});
        expect(found ? oracle.consistent : !(oracle.consistent && all), code, "what is consistent and determined has a completion");
        if (!found) return;
        if (level == &fl::kErasureScalar) first_info = info, first_freedom = freedom;
        expect(info == first_info && freedom == first_freedom, code, "every level completes alike");
    }
    Bits open(code.k);
    for (std::size_t at = 0; at < first_freedom.size(); at += first_info.size()) {
        const auto word = first_freedom.begin() + static_cast<std::ptrdiff_t>(at);
        const Bits bits = unpack({word, word + static_cast<std::ptrdiff_t>(first_info.size())}, code.k);
        for (unsigned i = 0; i < code.k; ++i) open[i] |= bits[i];
    }
    const Bits bits = unpack(first_info, code.k);
    bool right = true;
    for (unsigned i = 0; i < code.k; ++i) right &= open[i] != 0 ? oracle.value[i] < 0 : oracle.value[i] == bits[i];
    expect(right, code, "free words have bits where elimination leaves them open, and nowhere else");
}

void check_block(const fl::Code& code, const Erasures& result, std::size_t block, const std::int8_t* llr, const Bytes* sent_info) {
    const std::size_t stride = bytes_of(code.k);
    const Bits bits = unpack({result.bits.begin() + static_cast<std::ptrdiff_t>(block * stride), result.bits.begin() + static_cast<std::ptrdiff_t>((block + 1) * stride)}, code.k);
    const Bits open = unpack({result.undetermined.begin() + static_cast<std::ptrdiff_t>(block * stride), result.undetermined.begin() + static_cast<std::ptrdiff_t>((block + 1) * stride)}, code.k);
    const Oracle oracle = solve_plainly(code, llr);
    bool all = true, right = true;
    for (unsigned i = 0; i < code.k; ++i) {
        all &= oracle.value[i] >= 0;
        right &= open[i] != 0 ? bits[i] == 0 : oracle.value[i] == bits[i];
    }
    check_completions(code, llr, oracle, all);
    expect(result.ok[block] == (all && oracle.consistent), code, "ok where everything is determined and nothing contradicted");
    if (!oracle.consistent) return;
    expect(right, code, "determined bits are elimination's, others 0");
    if (!all) return;
    expect(std::all_of(open.begin(), open.end(), [](auto v) { return v == 0; }), code, "all is determined");
    if (sent_info == nullptr) return;
    expect(std::memcmp(&result.bits[block * stride], &(*sent_info)[block * stride], stride) == 0, code, "what was sent is recovered");
}

void check_against_elimination(const fl::Code& code, std::size_t blocks) {
    const double limit = 1.0 - static_cast<double>(code.k) / code.n;
    for (const double p : {0.02, 0.6 * limit, 0.95 * limit, 1.02 * limit, 0.8}) {
        for (const unsigned flips : {0u, 1u}) {
            if (flips != 0 && p == 0.02 && code.n > 1000) continue;
            Bytes info;
            const Llrs llr = receive(code, send(code, blocks, info), p, flips);
            const Erasures result = decode_everywhere(code, llr);
            for (std::size_t b = 0; b < blocks; ++b) check_block(code, result, b, llr.data() + b * code.n, flips == 0 ? &info : nullptr);
        }
    }
}

void check_hostile(const fl::Code& code) {
    for (unsigned kind = 0; kind < 8; ++kind) {
        Llrs llr(2 * std::size_t{code.n});
        for (std::size_t i = 0; i < llr.size(); ++i) {
            const int any = static_cast<int>(rng() % 256) - 128;
            const int of[8] = {0, 127, -128, any, i % 2 != 0 ? 127 : -127, i % 2 != 0 ? 0 : -1, i % code.n < code.k ? 0 : 1, i % code.n < code.k ? any : 0};
            llr[i] = static_cast<std::int8_t>(of[kind]);
        }
        const Erasures result = decode_everywhere(code, llr);
        if (kind == 0) expect(result.ok[0] == 0 && result.bits[0] == 0, code, "nothing comes of nothing");
        if (kind == 1) expect(result.ok[0] == 1 && result.bits[0] == 0, code, "sure zeros are the zero codeword");
        for (std::size_t b = 1; code.k % 8 != 0 && b <= 2; ++b) expect((result.bits[b * bytes_of(code.k) - 1] & (0xFF >> code.k % 8)) == 0, code, "padding is zero");
    }
}

// Many blocks in a call, good, stuck and contradicted ones mixed, give what each gives alone.
void check_batch(const fl::Code& code, std::size_t blocks) {
    const double limit = 1.0 - static_cast<double>(code.k) / code.n;
    Llrs llr;
    for (std::size_t b = 0; b < blocks; ++b) {
        Bytes info;
        const Llrs one = receive(code, send(code, 1, info), limit * static_cast<double>(b * 37 % 100) / 90, b % 5 == 0 ? 1 : 0);
        llr.insert(llr.end(), one.begin(), one.end());
    }
    const fl::ErasurePlan plan(code);
    const std::size_t stride = bytes_of(code.k);
    Erasures alone(code, blocks);
    for (std::size_t b = 0; b < blocks; ++b) {
        fl::decode_erasure(plan, {llr.data() + b * code.n, code.n}, 1,
                           {{alone.bits.data() + b * stride, stride}, {alone.ok.data() + b, 1}, {alone.iterations.data() + b, 1}},
                           {alone.undetermined.data() + b * stride, stride});
    }
    expect(decode_everywhere(code, llr) == alone, code, "a batch is its blocks");
    const auto good = std::count(alone.ok.begin(), alone.ok.end(), 1);
    expect(good > 0 && static_cast<std::size_t>(good) < blocks, code, "the batch has good blocks and bad ones");
}

}  // namespace

void test_erasure() {
    for (const unsigned n : kLengths) {
        for (const fl::Rate rate : kRates) {
            const unsigned k = wifi_info_bits(n, rate);
            for (const unsigned shorter : {k, k - 13, k / 2 + 1, 1u}) {
                if (shorter != k && n != 648) continue;
                const fl::Code code = fl::wifi_code(n, rate, shorter, shorter == k ? 0 : 5);
                check_against_elimination(code, n == 648 ? 2 : 1);
                check_hostile(code);
            }
        }
    }
    constexpr unsigned kNr[][2] = {{1, 2}, {1, 50}, {3, 10}, {5, 7}, {20, 60}, {40, 41}, {100, 300}, {128, 256}, {400, 800}, {513, 700}, {1024, 1200}, {400, 2500}, {1300, 3000}};
    for (const auto& [k, n] : kNr) {
        const fl::Code code = fl::nr_code(k, n);
        check_against_elimination(code, k < 300 ? 3 : 1);
        check_hostile(code);
    }
    check_hostile(fl::nr_code(8448, 25344));
    for (const unsigned k : {3840u, 4400u, 5300u, 6500u}) check_hostile(fl::nr_code(k, 2 * k));
    check_batch(fl::wifi_code(648, fl::Rate::r12, 324), 700);
    check_batch(fl::wifi_code(648, fl::Rate::r56, 533, 3), 300);
    check_batch(fl::wifi_code(1944, fl::Rate::r12, 972), 200);
    check_batch(fl::nr_code(1, 50), 300);
    check_batch(fl::nr_code(100, 300), 511);
    check_batch(fl::nr_code(400, 2600), 193);
}

}  // namespace ldpc_test
