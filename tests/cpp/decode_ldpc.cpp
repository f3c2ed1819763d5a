// Codes and decodes bytes as LDPC blocks: the head chooses the code and what is done, the body, again and again, is what was received or
// is to be sent. Whatever it is: bounded outputs, bounded time, and on the chosen instruction set what the scalar level gives.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "cpu.hpp"
#include "decode_any.hpp"
#include "ldpc/coder.hpp"

namespace fl = featcodec::ldpc;

namespace {

constexpr std::size_t kMostWork = 20'000;  // bits times blocks times iterations: a millisecond or two under the sanitizers

enum Task : unsigned { min_sum, min_sum_nats, erasure, erasure_nats, erasure_packed, completion, sum_product, encoding, kTasks };

// What the head says beside the code.
struct Choice {
    Task task;
    bool early_stop;
    unsigned iterations;
    std::size_t blocks;
    unsigned most_freedom;
};

fl::Code choose_code(std::span<const std::uint8_t> head) {
    const unsigned wide = head[1] + 256u * head[2], sort = head[4] % 32;
    if ((head[0] & 1) == 0) {
        const unsigned length = 648 * (1 + head[3] % 3), rate = head[3] / 3 % 4;
        constexpr unsigned kColumns[] = {12, 16, 18, 20};
        const unsigned most = length / 24 * kColumns[rate];
        return fl::wifi_code(length, static_cast<fl::Rate>(rate), 1 + wide % most, sort % 8 == 0 ? 0 : head[4] % (length - most));
    }
    // Seldom any block there is, at high rates; mostly short ones, n from k to far into repetition.
    const unsigned k = 1 + wide % (sort == 0 ? 8448 : sort < 8 ? 700 : 90);
    return fl::nr_code(k, k + head[3] % 64 * (sort == 0 ? k / 8 : k + 40) / (8u + head[4] / 32 * 8));
}

Choice choose(std::span<const std::uint8_t> head, const fl::Code& code) {
    Choice choice{};
    choice.task = static_cast<Task>(head[0] / 2 % kTasks);
    choice.early_stop = (head[0] & 16) != 0;
    const bool iterates = choice.task == min_sum || choice.task == min_sum_nats || choice.task == sum_product;
    choice.iterations = iterates ? 1 + head[0] / 32 : 1;
    const std::size_t work = std::max<std::size_t>(code.mother_bits(), code.n) * choice.iterations * (choice.task == sum_product ? 4 : 1);
    // Small blocks reach the decoders of many frames side by side.
    const std::size_t wanted = choice.task == completion ? 1 : 1 + head[5] % (iterates ? 70 : 256);
    choice.blocks = std::clamp<std::size_t>(kMostWork / work, 1, wanted);
    choice.most_freedom = head[5] % 33;
    return choice;
}

// `body` again and again; zeros where there is none.
template <class T>
std::vector<T> repeated(std::span<const std::uint8_t> body, std::size_t count) {
    std::vector<std::uint8_t> bytes(count * sizeof(T));
    for (std::size_t done = 0; done < bytes.size() && !body.empty(); done += body.size()) {
        std::copy_n(body.begin(), std::min(body.size(), bytes.size() - done), bytes.begin() + static_cast<std::ptrdiff_t>(done));
    }
    std::vector<T> values(count);
    if (count != 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

struct Result {
    std::vector<std::uint8_t> bits, ok, freedom;
    std::vector<std::uint16_t> iterations;
    bool done = true;  // a completion found, LLRs that are not NaN
    bool operator==(const Result&) const = default;
};

std::size_t bytes_of(std::size_t bits) { return (bits + 7) / 8; }

bool padding_is_zero(unsigned bits, std::span<const std::uint8_t> blocks) {
    const std::size_t bytes = bytes_of(bits);
    for (std::size_t last = bytes - 1; last < blocks.size(); last += bytes) {
        if (bits % 8 != 0 && (blocks[last] & (0xFF >> bits % 8)) != 0) return false;
    }
    return true;
}

// Sent bits; and every check holds for all mother bits.
Result encode(const fl::Coder& coder, std::span<const std::uint8_t> body, const Choice& choice) {
    const fl::Code& code = coder.code();
    std::vector<std::uint8_t> info = repeated<std::uint8_t>(body, choice.blocks * bytes_of(code.k)), mother(choice.blocks * bytes_of(code.mother_bits()));
    for (std::size_t block = 1; code.k % 8 != 0 && block <= choice.blocks; ++block) info[block * bytes_of(code.k) - 1] &= static_cast<std::uint8_t>(0xFF00 >> code.k % 8);
    Result result;
    result.bits.assign(choice.blocks * bytes_of(code.n), 0xFF);
    coder.encode(info, result.bits, choice.blocks);
    if (!padding_is_zero(code.n, result.bits)) std::abort();
    coder.encode_mother(info, mother, choice.blocks);
    std::vector<std::uint32_t> failed(choice.blocks, 1);
    coder.syndrome_weight(mother, failed, choice.blocks);
    if (std::any_of(failed.begin(), failed.end(), [](std::uint32_t checks) { return checks != 0; })) std::abort();
    return result;
}

void decode(const fl::Coder& coder, std::span<const std::uint8_t> body, const Choice& choice, Result& result) {
    const std::size_t blocks = choice.blocks, values = blocks * coder.code().n, packed = blocks * bytes_of(coder.code().n);
    const fl::Decoded out{result.bits, result.ok, result.iterations};
    const auto [first, second] = std::pair(body.first(body.size() / 2), body.subspan(body.size() / 2));
    switch (choice.task) {
        case min_sum: return coder.decode_min_sum(repeated<std::int8_t>(body, values), blocks, choice.iterations, choice.early_stop, out);
        case min_sum_nats: return coder.decode_min_sum(repeated<float>(body, values), blocks, choice.iterations, choice.early_stop, out);
        case erasure: return coder.decode_erasure(repeated<std::int8_t>(body, values), blocks, out);
        case erasure_nats: return coder.decode_erasure(repeated<float>(body, values), blocks, out);
        case erasure_packed: return coder.decode_erasure_packed(repeated<std::uint8_t>(first, packed), repeated<std::uint8_t>(second, packed), blocks, out);
        case sum_product: return coder.decode_sum_product(repeated<float>(body, values), blocks, choice.iterations, choice.early_stop, out);
        default:
            result.done = coder.complete_erasure(repeated<std::int8_t>(body, values), choice.most_freedom, result.bits, result.freedom);
            if (result.freedom.size() > choice.most_freedom * result.bits.size()) std::abort();
            if (!result.done) {  // they mean nothing then
                result.bits.clear();
                result.freedom.clear();
            }
    }
}

Result run(const fl::Coder& coder, std::span<const std::uint8_t> body, const Choice& choice) {
    if (choice.task == encoding) return encode(coder, body, choice);
    const unsigned k = coder.code().k;
    Result result;
    result.bits.assign(choice.blocks * bytes_of(k), 0xFF);
    result.ok.assign(choice.blocks, choice.task == completion ? 0 : 0xFF);
    result.iterations.assign(choice.blocks, choice.task == completion ? 0 : 0xFFFF);
    try {
        decode(coder, body, choice, result);
    } catch (const std::invalid_argument&) {  // NaN
        if (choice.task != min_sum_nats && choice.task != erasure_nats) std::abort();
        Result refused;
        refused.done = false;
        return refused;
    }
    const bool rounds = choice.task == erasure || choice.task == erasure_nats || choice.task == erasure_packed;
    for (std::size_t block = 0; block < choice.blocks; ++block) {
        if (result.ok[block] > 1 || (!rounds && result.iterations[block] > choice.iterations)) std::abort();
    }
    if (!padding_is_zero(k, result.bits)) std::abort();
    return result;
}

}  // namespace

void decode_ldpc(const std::uint8_t* data, std::size_t size) {
    if (size < kHead) return;
    const std::span<const std::uint8_t> head(data, kHead);
    const std::span<const std::uint8_t> body(data + kHead, size - kHead);
    choose_kernels(head[6]);
    const fl::Coder coder(choose_code(head));
    const Choice choice = choose(head, coder.code());
    const Result result = run(coder, body, choice);
    if (featcodec::current_isa() == featcodec::Isa::scalar) return;
    featcodec::set_isa(featcodec::Isa::scalar);
    if (run(coder, body, choice) != result) std::abort();
}
