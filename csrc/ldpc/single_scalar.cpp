// The one-frame min-sum decoder in portable C++: the reading of the algorithm that the vector kernels must equal bit for bit.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "single_kernel.hpp"

namespace featcodec::ldpc::single {

namespace {

int saturate(int value) { return std::clamp(value, -128, 127); }

// The sent values, summed where a bit is sent repeatedly; unsent bits 0, known zeros sure.
void gather(const View& view, const std::int8_t* llr, std::int8_t* natural) {
    std::memset(natural, 0, view.mother_bits);
    for (std::uint32_t i = 0; i < view.num_parts; ++i) {
        const Part& part = view.parts[i];
        for (std::uint32_t bit = 0; bit < part.count; ++bit) {
            std::int8_t& sum = natural[part.mother + bit];
            sum = static_cast<std::int8_t>(std::clamp(sum + std::max<int>(llr[part.sent + bit], -kLimit), -kLimit, kLimit));
        }
    }
    for (std::uint32_t bit = 0; bit < view.mother_bits; ++bit) natural[bit] = std::clamp<std::int8_t>(natural[bit], -kClip, kClip);
    std::memset(natural + view.known_begin, kLimit, view.known_end - view.known_begin);
}

// `natural` into the columns, each in the rotation its last use leaves.
void place(const View& view, const std::int8_t* natural, std::int8_t* columns) {
    for (std::uint32_t col = 0; col < view.cols; ++col) {
        const Column& column = view.columns[0][col];
        for (std::uint32_t i = 0; i < 2 * view.z; ++i) columns[column.home + i] = natural[col * view.z + (i + column.last) % view.z];
    }
}

// One check: `i` is its row within the block row, R lies `z` bytes apart.
void check_node(const View& view, const Edge* edges, unsigned degree, std::uint32_t i, std::int8_t* columns, std::int8_t* messages) {
    int t[kMaxDegree];
    int smallest = kLimit, second = kLimit;
    bool odd = false;
    for (unsigned j = 0; j < degree; ++j) {
        t[j] = saturate(columns[edges[j].read + i] - messages[j * view.z + i]);
        const int magnitude = std::abs(t[j]);
        second = std::min(second, std::max(smallest, magnitude));
        smallest = std::min(smallest, magnitude);
        odd ^= t[j] < 0;
    }
    for (unsigned j = 0; j < degree; ++j) {
        const int others = std::abs(t[j]) == smallest ? second : smallest;
        const int magnitude = std::max(std::min(others, kClip) - kOffset, 0);
        const int message = odd != (t[j] < 0) ? -magnitude : magnitude;
        messages[j * view.z + i] = static_cast<std::int8_t>(message);
        const std::int8_t posterior = static_cast<std::int8_t>(saturate(t[j] + message));
        columns[edges[j].write + i] = posterior;
        columns[edges[j].write + view.z + i] = posterior;
    }
}

void iterate(const View& view, unsigned odd, std::int8_t* columns, std::int8_t* messages) {
    const Edge* edges = view.edges[odd];
    for (std::uint32_t row = 0; row < view.rows; ++row) {
        const unsigned degree = view.degrees[row];
        for (std::uint32_t i = 0; i < view.z; ++i) check_node(view, edges, degree, i, columns, messages);
        edges += degree;
        messages += degree * view.z;
    }
}

bool checks_hold(const View& view, unsigned odd, const std::int8_t* columns) {
    const Edge* edges = view.checks[odd];
    for (std::uint32_t row = 0; row < view.rows; ++row) {
        for (std::uint32_t i = 0; i < view.z; ++i) {
            bool parity = false;
            for (unsigned j = 0; j < view.degrees[row]; ++j) parity ^= columns[edges[j].read + i] < 0;
            if (parity) return false;
        }
        edges += view.degrees[row];
    }
    return true;
}

// The information bits' a-posteriori values in their own order; false where one is undecided.
bool collect(const View& view, unsigned odd, const std::int8_t* columns, std::int8_t* natural) {
    bool decided = true;
    for (std::uint32_t bit = 0; bit < view.k; ++bit) {
        const Column& column = view.columns[odd ^ 1][bit / view.z];
        natural[bit] = columns[column.home + column.back + bit % view.z];
        decided &= natural[bit] != 0;
    }
    return decided;
}

}  // namespace

Outcome decode_block_scalar(const View& view, const std::int8_t* llr, unsigned max_iterations, bool early_stop, std::int8_t* work, std::uint8_t* bits) {
    std::int8_t* messages = work + view.messages;
    std::int8_t* natural = work + view.natural;
    gather(view, llr, natural);
    place(view, natural, work);
    std::memset(messages, 0, view.messages_size);
    Outcome outcome;
    for (unsigned iteration = 0; iteration < max_iterations && !outcome.ok; ++iteration) {
        const unsigned odd = iteration % 2;
        iterate(view, odd, work, messages);
        outcome.iterations = static_cast<std::uint16_t>(iteration + 1);
        const bool last = iteration + 1 == max_iterations;
        if (!early_stop && !last) continue;
        const bool holds = checks_hold(view, odd, work);
        if (holds || last) outcome.ok = collect(view, odd, work, natural) && holds;
    }
    std::memset(bits, 0, (view.k + 7) / 8);
    for (std::uint32_t bit = 0; bit < view.k; ++bit)
        if (natural[bit] < 0) bits[bit / 8] = static_cast<std::uint8_t>(bits[bit / 8] | 0x80 >> bit % 8);
    return outcome;
}

}  // namespace featcodec::ldpc::single
