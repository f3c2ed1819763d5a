// Context coder, the portable kernels: the oracle that every vector kernel must match byte for byte.
#include <algorithm>
#include <bit>
#include <cstring>

#include "context_internal.hpp"
#include "scratch.hpp"

namespace featcodec {
namespace {

struct Neighbours {
    unsigned left, up, corner_sum;  // corner_sum: up-left + up-right
};

// Missing neighbours take the value of one that exists: left and up each other's, the upper corners up's; 0 where none exists.
Neighbours neighbours(const RowPart& part, std::size_t column, unsigned lane) {
    const std::size_t lanes = part.lanes;
    const std::uint8_t* above = part.above + column * lanes + lane;
    const bool has_up = ((part.top >> lane) & 1) == 0;
    const bool has_left = part.has_left || column > 0;
    const bool has_right = part.has_right || column + 1 < part.columns;
    Neighbours n{};
    n.up = has_up ? *above : 0u;
    n.left = has_left ? *(part.tokens + column * lanes + lane - lanes) : n.up;
    if (!has_up) n.up = n.left;
    const unsigned left_corner = has_up && has_left ? *(above - lanes) : n.up;
    const unsigned right_corner = has_up && has_right ? above[lanes] : n.up;
    n.corner_sum = left_corner + right_corner;
    return n;
}

// docs/context.md, "Contexts".
unsigned raw_context(const Neighbours& n, bool narrow) {
    if (narrow) return n.up * 16 + n.left * 4 + std::min(n.corner_sum, 3u);
    const unsigned difference = n.left > n.up ? n.left - n.up : n.up - n.left;
    return n.left + n.up + (difference >= 2 ? 32u : 0u);
}

unsigned load16(const std::uint8_t* p) { return static_cast<unsigned>(p[0] | (p[1] << 8)); }

std::uint64_t split(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens, std::uint8_t* raw) {
    return context_split_scalar(symbols, count, classes, tokens, raw, 0);
}

std::uint64_t join(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw, std::size_t raw_size) {
    return context_join_scalar(tokens, count, classes, raw, raw_size, 0);
}

}  // namespace

std::uint64_t context_split_scalar(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                                   std::uint8_t* raw, std::uint64_t bits) {
    std::uint64_t pending = bits % 8 == 0 ? 0 : raw[bits / 8];
    unsigned filled = bits % 8;
    std::size_t at = static_cast<std::size_t>(bits / 8);
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned symbol = symbols[i];
        const unsigned token = symbol < 16 ? classes.low[symbol] : classes.high[symbol >> classes.high_shift];
        tokens[i] = static_cast<std::uint8_t>(token);
        pending |= std::uint64_t{symbol - classes.base[token]} << filled;
        filled += classes.extra[token];
        bits += classes.extra[token];
        while (filled >= 8) {
            raw[at++] = static_cast<std::uint8_t>(pending);
            pending >>= 8;
            filled -= 8;
        }
    }
    if (filled > 0) raw[at] = static_cast<std::uint8_t>(pending);
    return bits;
}

std::uint64_t context_join_scalar(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                  std::size_t raw_size, std::uint64_t bits) {
    for (std::size_t i = 0; i < count; ++i) {
        const unsigned token = tokens[i];
        const unsigned extra = classes.extra[token];
        std::uint32_t window = 0;  // at most 6 bits from any offset: two bytes
        for (unsigned b = 0; b < 2; ++b) {
            const std::size_t at = static_cast<std::size_t>(bits / 8) + b;
            if (at < raw_size) window |= std::uint32_t{raw[at]} << (8 * b);
        }
        const std::uint32_t value = (window >> (bits % 8)) & ((1u << extra) - 1);
        tokens[i] = static_cast<std::uint8_t>(classes.base[token] + value);
        bits += extra;
    }
    return bits;
}

// Eight positions at a time keep a lane's reads and the plane's writes within few cache lines.
void context_deal_scalar(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions,
                         std::uint8_t* plane) {
    for (std::size_t first = 0; first < positions; first += 8) {
        const std::size_t last = std::min(first + 8, positions);
        for (unsigned lane = 0; lane < lanes; ++lane) {
            const std::uint8_t* from = source + offset[lane];
            for (std::size_t p = first; p < last; ++p) plane[p * lanes + lane] = from[p];
        }
    }
}

void context_collect_scalar(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions,
                            std::uint8_t* target) {
    for (std::size_t first = 0; first < positions; first += 8) {
        const std::size_t last = std::min(first + 8, positions);
        for (unsigned lane = 0; lane < lanes; ++lane) {
            std::uint8_t* to = target + offset[lane];
            for (std::size_t p = first; p < last; ++p) to[p] = plane[p * lanes + lane];
        }
    }
}

void context_index_scalar(const RowPart& part, bool narrow, std::uint16_t* indices) {
    const std::size_t lanes = part.lanes;
    for (std::size_t column = 0; column < part.columns; ++column) {
        for (unsigned lane = 0; lane < part.lanes; ++lane) {
            const unsigned context = raw_context(neighbours(part, column, lane), narrow);
            indices[column * lanes + lane] = static_cast<std::uint16_t>(context * kTokens + part.tokens[column * lanes + lane]);
        }
    }
}

// Several tables: equal neighbours in time would wait for each other's store. Eight pay for their clearing in long runs only.
template <unsigned Copies, unsigned Contexts>
static void count_in(const std::uint16_t* indices, std::size_t number, std::uint32_t* counts) {
    constexpr std::size_t kSize = Contexts * kTokens;
    constexpr std::size_t kStride = kSize + 48;  // equal places 4 KB apart would look like the same address to the store buffer
    struct Room {
        std::uint32_t more[Copies][kStride];
    };
    auto& more = thread_room<Room>().more;
    std::memset(more, 0, sizeof more);
    std::size_t i = 0;
    for (; i + Copies <= number; i += Copies) {
        for (unsigned copy = 0; copy < Copies; ++copy) ++more[copy][indices[i + copy]];
    }
    for (; i < number; ++i) ++counts[indices[i]];
    for (std::size_t k = 0; k < kSize; ++k) {
        for (unsigned copy = 0; copy < Copies; ++copy) counts[k] += more[copy][k];
    }
}

void context_count_scalar(const std::uint16_t* indices, std::size_t number, unsigned contexts, std::uint32_t* counts) {
    if (contexts > kNearContexts) {
        if (number >= 16384) return count_in<3, kRawContexts>(indices, number, counts);
        for (std::size_t i = 0; i < number; ++i) ++counts[indices[i]];
        return;
    }
    if (number < 16384) return count_in<3, kNearContexts>(indices, number, counts);
    count_in<8, kNearContexts>(indices, number, counts);
}

// Backwards, last lane first: the decoder goes the other way.
void context_encode_scalar(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes,
                           std::uint64_t active, LaneStates& states) {
    const auto active_lanes = static_cast<unsigned>(std::popcount(active));
    std::uint8_t* front = states.front;
    for (std::size_t column = columns; column-- > 0;) {
        for (unsigned lane = active_lanes; lane-- > 0;) {
            const std::uint32_t entry = model.code[indices[column * lanes + lane]];
            const std::uint32_t frequency = entry & 0xFFFF;
            const std::uint32_t start = entry >> 16;
            std::uint32_t x = states.state[lane];
            if ((x >> (32 - kFrequencyBits)) >= frequency) {
                *--front = static_cast<std::uint8_t>(x >> 8);
                *--front = static_cast<std::uint8_t>(x);
                x >>= 16;
            }
            states.state[lane] = ((x / frequency) << kFrequencyBits) + x % frequency + start;
        }
    }
    states.front = front;
}

namespace {

unsigned decode_token(const ContextModel& model, unsigned context, LaneStates& states, unsigned lane) {
    const std::uint16_t* starts = &model.starts[model.table_bytes[context] * (kTokens + 1)];
    std::uint32_t x = states.state[lane];
    const std::uint32_t slot = x & (kFrequencySum - 1);
    unsigned token = 0;
    for (unsigned t = 1; t < kTokens; ++t) token += starts[t] <= slot ? 1u : 0u;
    const std::uint32_t start = starts[token];
    x = (starts[token + 1] - start) * (x >> kFrequencyBits) + slot - start;
    if (x < kStateLow) {
        if (states.end - states.next < 2) return kNoToken;
        x = (x << 16) | load16(states.next);
        states.next += 2;
    }
    states.state[lane] = x;
    return token;
}

}  // namespace

bool context_decode_by_token(const ContextModel& model, const RowPart& part, LaneStates& states, TokenDecoder decode) {
    if (model.neighbourhood == Neighbourhood::gradient) return context_decode_gradient_by_token(model, part, states, decode);
    const bool narrow = model.bits <= kNarrowBits;
    const auto active_lanes = static_cast<unsigned>(std::popcount(part.active));
    for (std::size_t column = 0; column < part.columns; ++column) {
        for (unsigned lane = 0; lane < active_lanes; ++lane) {
            const unsigned token = decode(model, raw_context(neighbours(part, column, lane), narrow), states, lane);
            if (token == kNoToken) return false;
            part.tokens[column * part.lanes + lane] = static_cast<std::uint8_t>(token);
        }
    }
    return true;
}

static bool decode(const ContextModel& model, const RowPart& first, const std::uint64_t* tops, std::size_t rows, LaneStates& states) {
    RowPart part = first;
    for (std::size_t row = 0; row < rows; ++row) {
        part.top = tops[row];
        if (!context_decode_by_token(model, part, states, decode_token)) return false;
        part.tokens += part.columns * part.lanes;
        part.above += part.columns * part.lanes;
    }
    return true;
}

const ContextKernels kContextScalar = {split,
                                       join,
                                       context_deal_scalar,
                                       context_collect_scalar,
                                       context_index_scalar,
                                       context_predict_scalar,
                                       context_pair_scalar,
                                       context_count_scalar,
                                       context_encode_scalar,
                                       decode};

}  // namespace featcodec
