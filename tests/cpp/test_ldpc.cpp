// The LDPC core by itself, for sanitizers: codes, encoder, every decoder on every instruction set against plain oracles, the
// Coder on threads. `make sanitize` runs it; it ends with status 0 and one line, or aborts.
#include "test_ldpc.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "ldpc/encoder.hpp"

namespace ldpc_test {

std::mt19937 rng(4);

void expect(bool right, const fl::Code& code, const char* what) {
    if (right) return;
    std::fprintf(stderr, "%s k=%u n=%u z=%u: ", code.family == fl::Family::wifi ? "wifi" : "nr", code.k, code.n, code.z);
    expect(false, what);
}

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::abort();
}

Bits random_bits(std::size_t count) {
    Bits bits(count);
    for (auto& bit : bits) bit = rng() & 1;
    return bits;
}

Bytes pack(const Bits& bits, std::size_t width) {
    const std::size_t blocks = bits.size() / width, stride = bytes_of(width);
    Bytes out(blocks * stride);
    for (std::size_t i = 0; i < bits.size(); ++i) {
        if (bits[i] != 0) out[i / width * stride + i % width / 8] |= static_cast<std::uint8_t>(0x80 >> (i % width % 8));
    }
    return out;
}

Bits unpack(const Bytes& bytes, std::size_t width) {
    const std::size_t stride = bytes_of(width), blocks = bytes.size() / stride;
    Bits bits(blocks * width);
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = bytes[i / width * stride + i % width / 8] >> (7 - i % width % 8) & 1;
    return bits;
}

unsigned wifi_info_bits(unsigned n, fl::Rate rate) {
    constexpr unsigned kColumns[] = {12, 16, 18, 20};
    return n / 24 * kColumns[static_cast<unsigned>(rate)];
}

Result Result::first(const fl::Code& code, std::size_t blocks) const {
    Result part(code, blocks);
    std::copy_n(bits.begin(), part.bits.size(), part.bits.begin());
    std::copy_n(ok.begin(), blocks, part.ok.begin());
    std::copy_n(iterations.begin(), blocks, part.iterations.begin());
    return part;
}

Bytes send(const fl::Code& code, std::size_t blocks, Bytes& info) {
    info = pack(random_bits(blocks * code.k), code.k);
    Bytes sent(blocks * bytes_of(code.n));
    fl::Encoder(code, fl::kEncodeScalar).encode(info, sent, blocks);
    return sent;
}

Llrs receive(const fl::Code& code, const Bytes& sent, double erased, unsigned flips) {
    const Bits bits = unpack(sent, code.n);
    std::uniform_real_distribution<double> uniform;
    Llrs llr(bits.size());
    for (std::size_t i = 0; i < llr.size(); ++i) {
        const int size = 1 + static_cast<int>(rng() % 127);
        const int value = bits[i] == 0 ? size : size == 127 ? -128 : -size;
        llr[i] = static_cast<std::int8_t>(uniform(rng) < erased ? 0 : value);
    }
    for (std::size_t block = 0; block < bits.size() / code.n; ++block) {
        for (unsigned i = 0; i < flips; ++i) {
            std::int8_t& value = llr[block * code.n + rng() % code.n];
            value = static_cast<std::int8_t>(value == -128 ? 127 : -value);
        }
    }
    return llr;
}

std::vector<featcodec::Isa> levels() {
    std::vector<featcodec::Isa> found;
    std::copy_if(std::begin(featcodec::kAllIsas), std::end(featcodec::kAllIsas), std::back_inserter(found), featcodec::isa_supported);
    return found;
}

}  // namespace ldpc_test

int main() {
    ldpc_test::test_codes();
    ldpc_test::test_encoder();
    ldpc_test::test_min_sum();
    ldpc_test::test_erasure();
    ldpc_test::test_sum_product();
    ldpc_test::test_coder();
    std::printf("LDPC codes, encoder and decoders passed on instruction sets up to %s\n", featcodec::isa_name(featcodec::best_isa()));
    return 0;
}
