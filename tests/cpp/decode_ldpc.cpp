// Decodes bytes as LDPC blocks: the head chooses the code and the decoder, the body, again and again, is what was received. Whatever
// it is: bounded outputs, bounded time, and the scalar decoder's result on the chosen instruction set.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "cpu.hpp"
#include "decode_any.hpp"
#include "ldpc/coder.hpp"

namespace fl = featcodec::ldpc;

namespace {

constexpr std::size_t kMostWork = 300'000;  // bits times blocks times iterations: keeps an input within some 20 ms

fl::Code choose_code(std::span<const std::uint8_t> head) {
    const unsigned wide = head[1] + 256u * head[2];
    if ((head[0] & 1) == 0) {
        const unsigned length = 648 * (1 + head[3] % 3), rate = head[3] / 3 % 4;
        constexpr unsigned kColumns[] = {12, 16, 18, 20};
        const unsigned most = length / 24 * kColumns[rate];
        return fl::wifi_code(length, static_cast<fl::Rate>(rate), 1 + wide % most, head[4] % 8 == 0 ? 0 : head[4] % (length - most));
    }
    // Mostly short blocks; n from k to far into repetition.
    const unsigned k = 1 + ((head[4] & 7) != 0 ? wide % 700 : wide % 8448);
    return fl::nr_code(k, k + head[3] % 64 * (k + 40) / (1u + head[4] / 8 % 32));
}

enum Decoder : unsigned { min_sum, erasure, erasure_packed, sum_product };

struct Received {
    std::vector<std::int8_t> llr;
    std::vector<float> nats;
    std::vector<std::uint8_t> sent, erased;
};

// `body` again and again; zeros where there is none.
template <class T>
std::vector<T> repeated(std::span<const std::uint8_t> body, std::size_t count) {
    std::vector<std::uint8_t> bytes(count * sizeof(T));
    for (std::size_t i = 0; i < bytes.size() && !body.empty(); ++i) bytes[i] = body[i % body.size()];
    std::vector<T> values(count);
    if (count != 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

struct Result {
    std::vector<std::uint8_t> bits, ok;
    std::vector<std::uint16_t> iterations;
    bool operator==(const Result&) const = default;
};

Result decode(const fl::Coder& coder, Decoder decoder, const Received& received, std::size_t blocks, unsigned iterations, bool early_stop) {
    Result result{std::vector<std::uint8_t>(blocks * ((coder.code().k + 7) / 8), 0xFF), std::vector<std::uint8_t>(blocks, 0xFF), std::vector<std::uint16_t>(blocks, 0xFFFF)};
    const fl::Decoded out{result.bits, result.ok, result.iterations};
    switch (decoder) {
        case min_sum: coder.decode_min_sum(received.llr, blocks, iterations, early_stop, out); break;
        case erasure: coder.decode_erasure(received.llr, blocks, out); break;
        case erasure_packed: coder.decode_erasure_packed(received.sent, received.erased, blocks, out); break;
        case sum_product: coder.decode_sum_product(received.nats, blocks, iterations, early_stop, out); break;
    }
    return result;
}

void check(const fl::Code& code, const Result& result, unsigned most_iterations) {
    const std::size_t bytes = (code.k + 7) / 8;
    for (std::size_t block = 0; block < result.ok.size(); ++block) {
        if (result.ok[block] > 1 || result.iterations[block] > most_iterations) std::abort();
        if (code.k % 8 != 0 && (result.bits[(block + 1) * bytes - 1] & (0xFF >> code.k % 8)) != 0) std::abort();
    }
}

}  // namespace

void decode_ldpc(const std::uint8_t* data, std::size_t size) {
    if (size < kHead) return;
    const std::span<const std::uint8_t> head(data, kHead);
    const std::span<const std::uint8_t> body(data + kHead, size - kHead);
    choose_kernels(head[6]);
    const featcodec::Isa isa = featcodec::current_isa();
    const fl::Coder coder(choose_code(head));
    const fl::Code& code = coder.code();
    const auto decoder = static_cast<Decoder>(head[0] >> 1 & 3);
    const bool erasures = decoder == erasure || decoder == erasure_packed, early_stop = (head[0] & 8) != 0;
    const unsigned iterations = erasures ? 1 : 1 + (head[0] >> 4) % 8;
    const std::size_t work = std::max<std::size_t>(code.mother_bits(), code.n) * iterations * (erasures || decoder == sum_product ? 4 : 1);
    // Small blocks reach the decoders of many frames side by side.
    const std::size_t blocks = std::clamp<std::size_t>(kMostWork / work, 1, erasures ? 1 + head[5] : 1 + head[5] % 70);

    Received received;
    const std::size_t stride = (code.n + 7) / 8;
    if (decoder == sum_product) received.nats = repeated<float>(body, blocks * code.n);
    if (decoder == erasure_packed) {
        received.sent = repeated<std::uint8_t>(body.first(body.size() / 2), blocks * stride);
        received.erased = repeated<std::uint8_t>(body.subspan(body.size() / 2), blocks * stride);
    }
    if (decoder == min_sum || decoder == erasure) received.llr = repeated<std::int8_t>(body, blocks * code.n);

    const Result result = decode(coder, decoder, received, blocks, iterations, early_stop);
    check(code, result, erasures ? 0xFFFF : iterations);
    std::vector<std::uint8_t> info((code.k + 7) / 8), freedom, scalar_info(info.size()), scalar_freedom;
    const unsigned most = head[5] % 33;
    const auto first = std::span(received.llr).first(decoder == erasure ? code.n : 0);
    const bool completed = decoder == erasure && coder.complete_erasure(first, most, info, freedom);
    if (completed && freedom.size() > most * info.size()) std::abort();
    featcodec::set_isa(featcodec::Isa::scalar);
    if (decoder == erasure && coder.complete_erasure(first, most, scalar_info, scalar_freedom) != completed) std::abort();
    if (completed && (info != scalar_info || freedom != scalar_freedom)) std::abort();
    if (decode(coder, decoder, received, blocks, iterations, early_stop) != result) std::abort();
    featcodec::set_isa(isa);
}
