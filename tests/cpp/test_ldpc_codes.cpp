// Codes, encoder and syndrome. Oracles: bits times H one by one, and elimination over GF(2).
#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "kernels.hpp"
#include "ldpc/encoder.hpp"
#include "ldpc/syndrome.hpp"
#include "test_ldpc.hpp"

namespace ldpc_test {
namespace {

// How many checks fail, bit by bit.
unsigned failed_checks(const fl::Matrix& matrix, const std::uint8_t* bits) {
    unsigned failed = 0;
    for (unsigned row = 0; row < matrix.rows; ++row) {
        for (unsigned r = 0; r < matrix.z; ++r) {
            unsigned sum = 0;
            for (unsigned col = 0; col < matrix.cols; ++col) {
                if (matrix.at(row, col) >= 0) sum ^= bits[col * matrix.z + (r + static_cast<unsigned>(matrix.at(row, col))) % matrix.z];
            }
            failed += sum;
        }
    }
    return failed;
}

// Solves (the parity part of the first `rows` base rows) * parity = right side; false where it is singular.
bool solve_parity(const fl::Code& code, unsigned rows, const Bits& info, Bits& parity) {
    const unsigned size = rows * code.z, words = size / 64 + 1, first = code.info_cols * code.z;
    using Row = std::vector<std::uint64_t>;
    std::vector<Row> a(size, Row(words));
    const auto flip = [](Row& row, unsigned bit) { row[bit / 64] ^= std::uint64_t{1} << (bit % 64); };
    const auto get = [](const Row& row, unsigned bit) { return (row[bit / 64] >> (bit % 64) & 1) != 0; };
    for (unsigned row = 0; row < rows; ++row) {
        for (unsigned col = 0; col < code.info_cols + rows; ++col) {
            if (code.matrix.at(row, col) < 0) continue;
            for (unsigned r = 0; r < code.z; ++r) {
                const unsigned bit = col * code.z + (r + static_cast<unsigned>(code.matrix.at(row, col))) % code.z;
                if (bit >= first) {
                    flip(a[row * code.z + r], bit - first);
                } else if (bit < code.k && info[bit] != 0) {
                    flip(a[row * code.z + r], size);
                }
            }
        }
    }
    for (unsigned p = 0; p < size; ++p) {
        unsigned pivot = p;
        while (pivot < size && !get(a[pivot], p)) ++pivot;
        if (pivot == size) return false;
        std::swap(a[p], a[pivot]);
        const std::uint64_t* const from = a[p].data();
        for (unsigned r = 0; r < size; ++r) {
            if (r == p || !get(a[r], p)) continue;
            std::uint64_t* const to = a[r].data();
            for (unsigned w = p / 64; w < words; ++w) to[w] ^= from[w];
        }
    }
    parity.assign(size, 0);
    for (unsigned p = 0; p < size; ++p) parity[p] = get(a[p], size);
    return true;
}

void check_shape(const fl::Code& code) {
    unsigned sent = 0;
    for (const fl::Segment& s : code.segments) {
        expect(s.sent == sent && s.count > 0 && s.mother + s.count <= code.mother_bits(), code, "segments follow each other");
        expect(s.mother + s.count <= code.k || s.mother >= code.info_cols * code.z || code.known_bits() == 0, code, "no known bit is sent");
        sent += s.count;
    }
    expect(sent == code.n, code, "segments cover n");
    const fl::Matrix& matrix = code.matrix;
    expect(matrix.shifts.size() == std::size_t{matrix.rows} * matrix.cols && matrix.cols == code.info_cols + matrix.rows && matrix.z == code.z, code,
           "the matrix is of its size");
    expect(code.known_bits() < code.z || code.k <= 4, code, "no column is all known");
    for (unsigned row = 0; row < matrix.rows; ++row) {
        unsigned degree = 0;
        for (unsigned col = 0; col < matrix.cols; ++col) {
            degree += matrix.at(row, col) >= 0;
            expect(matrix.at(row, col) < static_cast<int>(code.z) && matrix.at(row, col) >= -1, code, "shifts are -1..z-1");
        }
        expect(degree >= 2, code, "every row has two blocks");
    }
}

// Encodes random blocks whose padding is not zero: H x = 0 bit by bit, the sent bits are the segments of the mother codeword,
// syndrome_weight agrees, on damage too.
void check_encoder(const fl::Code& code, unsigned blocks) {
    const fl::Encoder encoder(code, fl::kEncodeScalar);
    const Bits info = random_bits(std::size_t{blocks} * code.k);
    Bytes packed = pack(info, code.k);
    for (unsigned b = 0; b < blocks && code.k % 8 != 0; ++b) {
        packed[(b + 1) * bytes_of(code.k) - 1] |= static_cast<std::uint8_t>(rng() & (0xFFu >> code.k % 8));
    }
    const unsigned width = code.mother_bits();
    Bytes mother(blocks * bytes_of(width), 0xAA), sent(blocks * bytes_of(code.n), 0xAA);
    encoder.encode_mother(packed, mother, blocks);
    encoder.encode(packed, sent, blocks);
    Bits x = unpack(mother, width);
    Bits wanted;
    for (unsigned b = 0; b < blocks; ++b) {
        const std::uint8_t* const block = x.data() + std::size_t{b} * width;
        expect(failed_checks(code.matrix, block) == 0, code, "H x = 0");
        expect(std::equal(block, block + code.k, info.data() + std::size_t{b} * code.k), code, "the code is systematic");
        expect(std::all_of(block + code.k, block + code.info_cols * code.z, [](auto v) { return v == 0; }), code, "known bits are zero");
        for (const fl::Segment& s : code.segments) wanted.insert(wanted.end(), block + s.mother, block + s.mother + s.count);
    }
    expect(sent == pack(wanted, code.n), code, "sent bits are those of the segments, padded with zeros");

    std::vector<std::uint32_t> weight(blocks, 9);
    fl::syndrome_weight(code, mother, weight, blocks);
    expect(weight == std::vector<std::uint32_t>(blocks), code, "codewords have no syndrome");
    for (auto& v : x) v ^= rng() % 37 == 0;
    fl::syndrome_weight(code, pack(x, width), weight, blocks);
    for (unsigned b = 0; b < blocks; ++b) {
        expect(weight[b] == failed_checks(code.matrix, x.data() + std::size_t{b} * width), code, "the syndrome's weight counts checks");
    }
}

// The core by elimination: full rank and the encoder's parity. What follows it is an identity.
void check_generator(const fl::Code& code) {
    const unsigned core = code.family == fl::Family::nr ? 4 : code.matrix.rows;
    const Bits info = random_bits(code.k);
    Bits parity;
    expect(solve_parity(code, core, info, parity), code, "full rank");
    Bytes mother(bytes_of(code.mother_bits()));
    fl::Encoder(code, fl::kEncodeScalar).encode_mother(pack(info, code.k), mother, 1);
    const Bits x = unpack(mother, code.mother_bits());
    expect(std::equal(parity.begin(), parity.end(), x.begin() + code.info_cols * code.z), code, "parity by elimination");
    for (unsigned row = core; row < code.matrix.rows; ++row) {
        for (unsigned col = core; col < code.matrix.rows; ++col) {
            expect(code.matrix.at(row, code.info_cols + col) == (row == col ? 0 : -1), code, "each later row has its own parity column");
        }
    }
}

void check_wifi() {
    for (const unsigned n : kLengths) {
        for (const fl::Rate rate : kRates) {
            const unsigned k = wifi_info_bits(n, rate);
            const fl::Code whole = fl::wifi_code(n, rate, k);
            expect(whole.n == n && whole.segments.size() == 1, whole, "the whole code is sent as it is");
            check_generator(whole);
            const unsigned parity = n - k;
            for (const unsigned shorter : {k, k - 1, k - whole.z, k - whole.z + 1, k / 2, k / 3, whole.z + 1, whole.z, 9u, 8u, 1u}) {
                for (const unsigned punctured : {0u, 1u, parity / 3, parity - 1}) {
                    const fl::Code code = fl::wifi_code(n, rate, shorter, punctured);
                    expect(code.n == shorter + parity - punctured, code, "n counts what is sent");
                    check_shape(code);
                    if (punctured % 2 == 0) check_encoder(code, 2);
                }
            }
        }
    }
}

void check_lifted(const fl::Code& code, unsigned rows) {
    expect(rows == 0 || code.matrix.rows == rows, code, "all rows are there");
    check_shape(code);
    check_encoder(code, 1);
    check_generator(code);
}

// Every lifting size of both base graphs, at the longest block of that size and, but for short blocks of BG1, all rows.
void check_nr_liftings() {
    unsigned seen = 0;
    for (unsigned z = 2; z <= 384; ++z) {
        unsigned k = 10 * z;
        while (fl::nr_code(k, 5 * k).z > z) --k;  // the rule of BG2's columns
        if (const fl::Code code = fl::nr_code(k, 10 * k); code.z == z) {
            check_lifted(code, 42);
            ++seen;
        }
        // BG1 takes 293..3840 bits at high rates only, fewer never.
        k = 22 * z;
        if (k <= 292) continue;
        const fl::Code code = fl::nr_code(k, k <= 3840 ? k + 4 * z : 3 * k);
        if (code.z != z) continue;
        check_lifted(code, k <= 3840 ? 0 : 46);
        ++seen;
    }
    expect(seen == 51 + 39, "51 lifting sizes of BG2, 39 of BG1");
}

// The standard's rules by hand for a few codes, then every k.
void check_nr_rules() {
    struct Known {
        unsigned k, n, z, info_cols, rows;
    };
    // k=400: BG2, 8 columns, z 52 (set of 13); 800 - (400 - 104) = 504 parity bits = 10 columns.
    for (const Known& w : {Known{400, 800, 52, 8, 10}, Known{8192, 16384, 384, 22, 24}, Known{1024, 2048, 104, 10, 12}, Known{8448, 25344, 384, 22, 46},
                           Known{20, 100, 4, 5, 22}, Known{3840, 15360, 384, 10, 32}, Known{3841, 20000, 176, 22, 46}}) {
        const fl::Code code = fl::nr_code(w.k, w.n);
        expect(code.z == w.z && code.info_cols == w.info_cols && code.matrix.rows == w.rows, code, "base graph and lifting size of TS 38.212");
    }
    constexpr double kCodeRates[] = {1.0, 0.93, 0.75, 0.5, 0.33, 0.2, 0.05};
    for (unsigned k = 1; k <= 8448; ++k) check_shape(fl::nr_code(k, static_cast<unsigned>(std::ceil(k / kCodeRates[k % 7]))));
    for (unsigned k = 1; k <= 8448; k += k < 60 ? 1 : 277) {
        for (const double rate : kCodeRates) check_encoder(fl::nr_code(k, static_cast<unsigned>(std::ceil(k / rate))), 1);
    }
    check_encoder(fl::nr_code(1, 1u << 20), 1);
}

void refuses(const std::function<void()>& call, const char* part) {
    try {
        call();
    } catch (const std::invalid_argument& e) {
        expect(std::string(e.what()).find(part) != std::string::npos, e.what());
        return;
    }
    expect(false, part);
}

void check_refusals() {
    refuses([] { fl::wifi_code(647, fl::Rate::r12, 1); }, "n must be 648, 1296 or 1944, got 647");
    refuses([] { fl::wifi_code(648, fl::Rate::r12, 0); }, "1..324, got 0");
    refuses([] { fl::wifi_code(648, fl::Rate::r12, 325); }, "1..324, got 325");
    refuses([] { fl::wifi_code(648, fl::Rate::r56, 100, 108); }, "0..107, got 108");
    refuses([] { fl::wifi_code(648, static_cast<fl::Rate>(4), 1); }, "rate must be 1/2, 2/3, 3/4 or 5/6");
    refuses([] { fl::nr_code(0, 10); }, "1..8448, got 0");
    refuses([] { fl::nr_code(8449, 20000); }, "1..8448, got 8449");
    refuses([] { fl::nr_code(400, 399); }, "400..1048576, got 399");
    refuses([] { fl::nr_code(400, (1u << 20) + 1); }, "got 1048577");
    const fl::Code code = fl::nr_code(400, 800);
    const fl::Encoder encoder(code, fl::kEncodeScalar);
    Bytes info(50), sent(99);
    refuses([&] { encoder.encode(info, sent, 1); }, "sent must hold 100");
    refuses([&] { encoder.encode(std::span(info).first(49), sent, 1); }, "info must hold 50");
    refuses([&] { encoder.encode_mother(info, sent, 1); }, "mother must hold");
    std::vector<std::uint32_t> weight(1);
    refuses([&] { fl::syndrome_weight(code, info, weight, 1); }, "got 50");
    fl::Code other = code;
    other.matrix.shifts[other.info_cols + 1] = 3;
    refuses([&] { fl::Encoder(other, fl::kEncodeScalar); }, "double diagonal");
}

}  // namespace

void test_codes() {
    check_wifi();
    check_nr_liftings();
    check_nr_rules();
    check_refusals();
}

// Every build of the encoder's kernel gives the scalar one's bytes, for full and part batches, and writes no byte more.
void test_encoder() {
    std::vector<fl::Code> codes;
    for (const unsigned n : kLengths) {
        for (const unsigned k : {n / 2, n / 2 - 5, n / 3, 1u}) codes.push_back(fl::wifi_code(n, fl::Rate::r12, k, k % 3 * 7));
    }
    for (const unsigned k : {1u, 5u, 40u, 310u, 400u, 700u, 1024u, 2000u, 3840u, 5000u, 8192u}) {
        for (const double rate : {0.95, 0.6, 0.3, 0.05}) codes.push_back(fl::nr_code(k, static_cast<unsigned>(k / rate)));
    }
    for (const fl::Code& code : codes) {
        const fl::Encoder scalar(code, fl::kEncodeScalar);
        for (const unsigned blocks : {1u, 3u, 8u, 21u}) {
            Bytes info(blocks * bytes_of(code.k)), sent(blocks * bytes_of(code.n)), mother(blocks * bytes_of(code.mother_bits()));
            for (auto& byte : info) byte = static_cast<std::uint8_t>(rng());
            scalar.encode(info, sent, blocks);
            scalar.encode_mother(info, mother, blocks);
            for (const featcodec::Isa isa : levels()) {
                const fl::Encoder encoder(code, featcodec::kernels_of(isa).encode);
                Bytes again(sent.size(), 0xAA), mother_again(mother.size(), 0xAA);
                encoder.encode(info, again, blocks);
                encoder.encode_mother(info, mother_again, blocks);
                expect(again == sent && mother_again == mother, code, featcodec::isa_name(isa));
            }
        }
    }
}

}  // namespace ldpc_test
