// Context coder, the gradient neighbourhood: the portable kernels, the oracle of the vector ones.
#include <algorithm>
#include <bit>
#include <cstdlib>

#include "context_internal.hpp"

namespace featcodec {
namespace {

// docs/context.md, "Gradient".
struct Gradient {
    unsigned predicted, context;
};

unsigned level_of(unsigned roughness) {
    if (roughness < 2) return roughness;
    const auto octave = static_cast<unsigned>(std::bit_width(roughness)) - 1;
    return 2 * octave + ((roughness >> (octave - 1)) & 1u);  // 255 gives 15
}

unsigned place_of(unsigned predicted, unsigned most) {
    if (predicted < 2) return predicted;
    return most - predicted < 2 ? 2 + most - predicted : 4u;
}

unsigned above_zero(unsigned a, unsigned b) { return a > b ? a - b : 0; }

Gradient gradient_at(const RowPart& part, std::size_t column, unsigned lane, unsigned most) {
    const std::size_t lanes = part.lanes;
    const std::uint8_t* own = part.tokens + column * lanes + lane;
    const std::uint8_t* above = part.above + column * lanes + lane;
    const bool has_up = ((part.top >> lane) & 1) == 0;
    const bool has_left = part.has_left || column > 0;
    const bool has_right = part.has_right || column + 1 < part.columns;
    unsigned up = has_up ? *above : 0u;
    const unsigned left = has_left ? *(own - lanes) : up;
    if (!has_up) up = left;
    const unsigned before = has_up && has_left ? *(above - lanes) : up;
    const unsigned after = has_up && has_right ? above[lanes] : up;
    const unsigned high = std::max(left, up);
    const unsigned low = std::min(left, up);
    const unsigned corner = std::clamp(before, low, high);
    const unsigned predicted = high + low - corner;
    const unsigned range = std::max({high, before, after}) - std::min({low, before, after});
    const unsigned errors = (has_left ? own[part.errors - static_cast<std::ptrdiff_t>(lanes)] : 0u) + (has_up ? above[part.errors] : 0u);
    const unsigned fall = corner - low;
    const unsigned rise = high - corner;
    const unsigned more = std::min(2 * above_zero(fall, rise) + above_zero(after, before), 255u);
    const unsigned less = std::min(2 * above_zero(rise, fall) + above_zero(before, after), 255u);
    const unsigned sign = more > less ? 1 : more < less ? 2 : 0;
    return {predicted, (level_of(std::min(range + errors, 255u)) * 5 + place_of(predicted, most)) * 3 + sign};
}

unsigned distance(unsigned a, unsigned b) { return a > b ? a - b : b - a; }

unsigned residual_of(unsigned symbol, unsigned predicted, unsigned most) {
    const unsigned error = distance(symbol, predicted);
    const unsigned both = std::min(predicted, most - predicted);  // so far there are symbols on both sides
    return error > both ? both + error : 2 * error - (symbol < predicted ? 1 : 0);
}

unsigned symbol_of(unsigned residual, unsigned predicted, unsigned most) {
    const unsigned both = std::min(predicted, most - predicted);
    const bool within = residual <= 2 * both;
    const unsigned error = within ? (residual + 1) / 2 : residual - both;
    const bool upwards = within ? residual % 2 == 0 : predicted == both;
    return upwards ? predicted + error : predicted - error;
}

unsigned raw_bits(LaneStates& states, unsigned number) {
    const std::uint8_t* at = states.raw + states.raw_bit / 8;
    const auto window = static_cast<unsigned>(at[0] | (at[1] << 8));
    const unsigned value = (window >> (states.raw_bit % 8)) & ((1u << number) - 1);
    states.raw_bit += number;
    return value;
}

}  // namespace

void context_predict_scalar(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    const unsigned most = (1u << bits) - 1;
    for (std::size_t column = 0; column < part.columns; ++column) {
        for (unsigned lane = 0; lane < part.lanes; ++lane) {
            const std::size_t at = column * part.lanes + lane;
            const Gradient g = gradient_at(part, column, lane, most);
            contexts[at] = static_cast<std::uint8_t>(g.context);
            residuals[at] = static_cast<std::uint8_t>(residual_of(part.tokens[at], g.predicted, most));
            part.tokens[static_cast<std::ptrdiff_t>(at) + part.errors] = static_cast<std::uint8_t>(distance(part.tokens[at], g.predicted));
        }
    }
}

void context_pair_scalar(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices) {
    for (std::size_t i = 0; i < number; ++i) indices[i] = static_cast<std::uint16_t>(contexts[i] * kTokens + tokens[i]);
}

bool context_decode_gradient_by_token(const ContextModel& model, const RowPart& part, LaneStates& states, TokenDecoder decode) {
    const unsigned most = (1u << model.bits) - 1;
    const auto active_lanes = static_cast<unsigned>(std::popcount(part.active));
    for (std::size_t column = 0; column < part.columns; ++column) {
        if (states.raw_bit > states.raw_bits) return false;
        for (unsigned lane = 0; lane < active_lanes; ++lane) {
            const Gradient g = gradient_at(part, column, lane, most);
            const unsigned token = decode(model, g.context, states, lane);
            if (token == kNoToken) return false;
            const unsigned residual = model.base[token] + raw_bits(states, model.extra[token]);
            const unsigned symbol = symbol_of(residual, g.predicted, most);
            std::uint8_t* to = part.tokens + column * part.lanes + lane;
            *to = static_cast<std::uint8_t>(symbol);
            to[part.errors] = static_cast<std::uint8_t>(distance(symbol, g.predicted));
        }
    }
    return true;
}

}  // namespace featcodec
