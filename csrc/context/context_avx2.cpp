// Context coder, AVX2 and BMI2: splitting and joining raw bits, transposing lanes, contexts, and decoding by row search.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "context_internal.hpp"

namespace featcodec {
namespace {

__m256i both_halves(const std::uint8_t* table) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

// Per token: its first symbol and a mask of its extra bits, for byte shuffles.
struct ClassBytes {
    alignas(16) std::uint8_t base[16] = {};
    alignas(16) std::uint8_t mask[16] = {};
};

ClassBytes class_bytes(const TokenClasses& classes) {
    ClassBytes bytes;
    for (unsigned t = 0; t < classes.count; ++t) {
        bytes.base[t] = static_cast<std::uint8_t>(classes.base[t]);
        bytes.mask[t] = static_cast<std::uint8_t>((1u << classes.extra[t]) - 1);
    }
    return bytes;
}

std::uint64_t split(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens, std::uint8_t* raw) {
    const ClassBytes bytes = class_bytes(classes);
    const __m256i low = both_halves(classes.low.data());
    const __m256i high = both_halves(classes.high.data());
    const __m256i base = both_halves(bytes.base);
    const __m256i mask = both_halves(bytes.mask);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(classes.high_shift));
    std::uint64_t bits = 0;
    std::uint64_t pending = 0;
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols + i));
        const __m256i upper = _mm256_and_si256(_mm256_srl_epi16(v, shift), nibble);
        const __m256i small = _mm256_cmpeq_epi8(_mm256_min_epu8(v, nibble), v);
        const __m256i token = _mm256_blendv_epi8(_mm256_shuffle_epi8(high, upper), _mm256_shuffle_epi8(low, v), small);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tokens + i), token);
        alignas(32) std::uint64_t extra[4];
        alignas(32) std::uint64_t wanted[4];
        _mm256_store_si256(reinterpret_cast<__m256i*>(extra), _mm256_sub_epi8(v, _mm256_shuffle_epi8(base, token)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(wanted), _mm256_shuffle_epi8(mask, token));
        for (unsigned k = 0; k < 4; ++k) {  // at most 48 bits each, and 7 pending
            const auto number = static_cast<unsigned>(_mm_popcnt_u64(wanted[k]));
            pending |= _pext_u64(extra[k], wanted[k]) << (bits % 8);
            std::memcpy(raw + bits / 8, &pending, 8);
            const std::uint64_t filled = bits % 8 + number;
            pending >>= filled & ~std::uint64_t{7};
            bits += number;
        }
    }
    raw[bits / 8] = static_cast<std::uint8_t>(pending);
    return context_split_scalar(symbols + i, count - i, classes, tokens + i, raw, bits);
}

std::uint64_t join(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw, std::size_t raw_size) {
    const ClassBytes bytes = class_bytes(classes);
    const __m256i base = both_halves(bytes.base);
    const __m256i mask = both_halves(bytes.mask);
    std::uint64_t bits = 0;
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        if (bits / 8 + 32 > raw_size) break;  // 4 x 48 bits and a window of 8 bytes at each
        const __m256i token = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tokens + i));
        alignas(32) std::uint64_t wanted[4];
        alignas(32) std::uint64_t extra[4];
        _mm256_store_si256(reinterpret_cast<__m256i*>(wanted), _mm256_shuffle_epi8(mask, token));
        for (unsigned k = 0; k < 4; ++k) {
            std::uint64_t window = 0;
            std::memcpy(&window, raw + bits / 8, 8);
            extra[k] = _pdep_u64(window >> (bits % 8), wanted[k]);
            bits += static_cast<std::uint64_t>(_mm_popcnt_u64(wanted[k]));
        }
        const __m256i value = _mm256_add_epi8(_mm256_load_si256(reinterpret_cast<const __m256i*>(extra)), _mm256_shuffle_epi8(base, token));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tokens + i), value);
    }
    return context_join_scalar(tokens + i, count - i, classes, raw, raw_size, bits);
}

// Transposes 16 x 16 bytes in four rounds of interleaving row i with row i + 8.
inline void transpose(__m128i* rows) {
    __m128i other[16];
    for (unsigned round = 0; round < 4; ++round) {
        for (unsigned i = 0; i < 8; ++i) {
            other[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
            other[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
        }
        for (unsigned i = 0; i < 16; ++i) rows[i] = other[i];
    }
}

void deal(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* plane) {
    std::size_t p = 0;
    if (lanes >= 16) {
        for (; p + 16 <= positions; p += 16) {
            for (unsigned lane = 0; lane < lanes; lane += 16) {
                __m128i rows[16];
                for (unsigned i = 0; i < 16; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + offset[lane + i] + p));
                transpose(rows);
                for (unsigned i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(plane + (p + i) * lanes + lane), rows[i]);
            }
        }
    }
    if (p < positions) context_deal_scalar(source + p, offset, lanes, positions - p, plane + p * lanes);
}

void collect(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* target) {
    std::size_t p = 0;
    if (lanes >= 16) {
        for (; p + 16 <= positions; p += 16) {
            for (unsigned lane = 0; lane < lanes; lane += 16) {
                __m128i rows[16];
                for (unsigned i = 0; i < 16; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(plane + (p + i) * lanes + lane));
                transpose(rows);
                for (unsigned i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(target + offset[lane + i] + p), rows[i]);
            }
        }
    }
    if (p < positions) context_collect_scalar(plane + p * lanes, offset, lanes, positions - p, target + p);
}

// ---- contexts, 32 lanes at a time -------------------------------------------------------------------------------------------
#include "context_gradient.inc"

// The raw contexts of 32 lanes of a column; with 16 lanes the upper half is of no meaning, the plane's padding makes it readable.
inline __m256i near_contexts(const RowPart& part, std::size_t at, const TopLanes& top_of, unsigned lane, bool has_left, bool has_right, bool narrow) {
    const __m256i top = _mm256_load_si256(reinterpret_cast<const __m256i*>(top_of.lane + lane));
    __m256i up = _mm256_andnot_si256(top, load_bytes(part.above + at));
    const __m256i left = has_left ? load_bytes(part.tokens + at - part.lanes) : up;
    up = _mm256_blendv_epi8(up, left, top);
    if (!narrow) {
        const __m256i apart = _mm256_sub_epi8(_mm256_max_epu8(left, up), _mm256_min_epu8(left, up));
        const __m256i far_apart = _mm256_and_si256(_mm256_cmpgt_epi8(apart, _mm256_set1_epi8(1)), _mm256_set1_epi8(32));
        return _mm256_add_epi8(_mm256_add_epi8(left, up), far_apart);
    }
    const __m256i before = has_left ? _mm256_blendv_epi8(load_bytes(part.above + at - part.lanes), up, top) : up;
    const __m256i after = has_right ? _mm256_blendv_epi8(load_bytes(part.above + at + part.lanes), up, top) : up;
    const __m256i corners = _mm256_min_epu8(_mm256_add_epi8(before, after), _mm256_set1_epi8(3));
    // Tokens are below 4 here: shifting words moves nothing across bytes.
    return _mm256_add_epi8(_mm256_add_epi8(_mm256_slli_epi16(up, 4), _mm256_slli_epi16(left, 2)), corners);
}

void index(const RowPart& part, bool narrow, std::uint16_t* indices) {
    if (part.lanes < 16) return context_index_scalar(part, narrow, indices);
    const TopLanes top = top_lanes(part.top);
    for (std::size_t column = 0; column < part.columns; ++column) {
        const bool has_left = part.has_left || column > 0;
        const bool has_right = part.has_right || column + 1 < part.columns;
        for (unsigned lane = 0; lane < part.lanes; lane += 32) {
            const std::size_t at = column * part.lanes + lane;
            const __m256i context = near_contexts(part, at, top, lane, has_left, has_right, narrow);
            const __m256i token = load_bytes(part.tokens + at);
            const auto half = [](__m128i c, __m128i t) {
                return _mm256_or_si256(_mm256_slli_epi16(_mm256_cvtepu8_epi16(c), 4), _mm256_cvtepu8_epi16(t));
            };
            auto* to = reinterpret_cast<__m256i*>(indices + at);
            _mm256_storeu_si256(to, half(_mm256_castsi256_si128(context), _mm256_castsi256_si128(token)));
            if (part.lanes == 16) continue;
            _mm256_storeu_si256(to + 1, half(_mm256_extracti128_si256(context, 1), _mm256_extracti128_si256(token, 1)));
        }
    }
}

// A row of few lanes as one run of bytes: first the errors, which contexts further on want, then the contexts. What a store
// leaves past its run is written again later.
void predict_few(const RowPart& part, __m256i most, std::uint8_t* contexts, std::uint8_t* residuals) {
    const std::size_t lanes = part.lanes;
    std::uint64_t repeated = part.top;
    for (std::size_t have = lanes; have < 64; have *= 2) repeated |= repeated << have;
    const TopLanes top = top_lanes(repeated);
    const __m256i top_of = _mm256_load_si256(reinterpret_cast<const __m256i*>(top.lane));
    const auto run = [&](auto visit) {
        const std::size_t last = (part.columns - 1) * lanes;
        for (std::size_t at = 0; at < last; at += at == 0 ? lanes : 32) {
            visit(at, gradient_bytes(part, at, top_of, most, part.has_left || at > 0, true));
        }
        visit(last, gradient_bytes(part, last, top_of, most, part.has_left || last > 0, part.has_right));
    };
    run([&](std::size_t at, const GradientBytes& g) {
        const __m256i error = difference(load_bytes(part.tokens + at), g.predicted);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(part.tokens + static_cast<std::ptrdiff_t>(at) + part.errors), error);
    });
    run([&](std::size_t at, const GradientBytes& g) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(contexts + at), g.context);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(residuals + at), residual_bytes(load_bytes(part.tokens + at), g.predicted, most));
    });
}

void predict(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    const __m256i most = _mm256_set1_epi8(static_cast<char>((1u << bits) - 1));
    if (part.lanes < 16) return predict_few(part, most, contexts, residuals);
    const TopLanes top = top_lanes(part.top);
    const auto store = [&](std::uint8_t* to, __m256i bytes) {
        if (part.lanes == 16) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
        } else {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
        }
    };
    for (std::size_t column = 0; column < part.columns; ++column) {
        const bool has_left = part.has_left || column > 0;
        const bool has_right = part.has_right || column + 1 < part.columns;
        for (unsigned lane = 0; lane < part.lanes; lane += 32) {
            const std::size_t at = column * part.lanes + lane;
            const __m256i top_of = _mm256_load_si256(reinterpret_cast<const __m256i*>(top.lane + lane));
            const GradientBytes g = gradient_bytes(part, at, top_of, most, has_left, has_right);
            const __m256i symbol = load_bytes(part.tokens + at);
            store(contexts + at, g.context);
            store(residuals + at, residual_bytes(symbol, g.predicted, most));
            store(part.tokens + at + part.errors, difference(symbol, g.predicted));
        }
    }
}

void pair(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices) {
    std::size_t i = 0;
    for (; i + 16 <= number; i += 16) {
        const __m256i context = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(contexts + i)));
        const __m256i token = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tokens + i)));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(indices + i), _mm256_or_si256(_mm256_slli_epi16(context, 4), token));
    }
    context_pair_scalar(contexts + i, tokens + i, number - i, indices + i);
}

// One comparison of 16 starts with a slot finds the token; the state stays scalar. Its word is at `next`.
inline unsigned take_token(const ContextModel& model, unsigned context, std::uint32_t& state, std::uint32_t word, bool& taken) {
    const __m256i starts = _mm256_load_si256(reinterpret_cast<const __m256i*>(&model.rows[model.table_bytes[context] * kTokens]));
    std::uint32_t x = state;
    const std::uint32_t slot = x & (kFrequencySum - 1);
    const __m256i reached = _mm256_cmpgt_epi16(_mm256_set1_epi16(static_cast<short>(slot + 1)), starts);
    const auto token = static_cast<unsigned>(_mm_popcnt_u32(static_cast<unsigned>(_mm256_movemask_epi8(reached)))) / 2 - 1;
    const std::uint32_t entry = model.code[context * kTokens + token];
    x = (entry & 0xFFFF) * (x >> kFrequencyBits) + slot - (entry >> 16);
    taken = x < kStateLow;
    state = taken ? (x << 16) | word : x;
    return token;
}

inline std::uint32_t word_at(const std::uint8_t* p) {
    std::uint16_t word = 0;
    std::memcpy(&word, p, 2);
    return word;
}

unsigned checked_token(const ContextModel& model, unsigned context, LaneStates& states, unsigned lane) {
    const bool has_word = states.end - states.next >= 2;
    bool taken = false;
    const unsigned token = take_token(model, context, states.state[lane], has_word ? word_at(states.next) : 0, taken);
    if (taken && !has_word) return kNoToken;
    states.next += taken ? 2 : 0;
    return token;
}

// 2 bytes at `next` are readable.
inline unsigned decode_token(const ContextModel& model, unsigned context, std::uint32_t& state, const std::uint8_t*& next) {
    bool taken = false;
    const unsigned token = take_token(model, context, state, word_at(next), taken);
    next += taken ? 2 : 0;
    return token;
}

// The columns that are left when the words run low: reads are checked there.
bool decode_rest(const ContextModel& model, RowPart part, std::size_t column, LaneStates& states) {
    part.has_left = part.has_left || column > 0;
    part.tokens += column * part.lanes;
    part.above += column * part.lanes;
    part.columns -= column;
    return context_decode_by_token(model, part, states, checked_token);
}

// Contexts of lanes from `lane` on, into raw and, for gradient, predicted.
struct Contexts {
    alignas(32) std::uint8_t raw[kMaxLanes];
    alignas(32) std::uint8_t predicted[kMaxLanes];
};

// Tokens of the gradient to symbols, in the plane; idle lanes take no raw bits.
void settle(const ContextModel& model, const RowPart& part, std::size_t at, unsigned first, const Contexts& contexts, __m256i most, LaneStates& states) {
    const __m256i token = load_bytes(part.tokens + at);
    __m256i residual = token;
    if (model.bits > 4) {
        alignas(32) std::uint8_t working[32];
        for (unsigned lane = 0; lane < 32; ++lane) working[lane] = first + lane < kMaxLanes && ((part.active >> (first + lane)) & 1) != 0 ? 0xFF : 0;
        const __m256i wanted = _mm256_and_si256(_mm256_shuffle_epi8(both_halves(model.mask.data()), token), _mm256_load_si256(reinterpret_cast<const __m256i*>(working)));
        residual = _mm256_add_epi8(_mm256_shuffle_epi8(both_halves(model.base.data()), token), raw_bytes(wanted, states));
    }
    const SymbolBytes settled = symbol_bytes(residual, _mm256_load_si256(reinterpret_cast<const __m256i*>(contexts.predicted + first)), most);
    const auto store = [&](std::uint8_t* to, __m256i bytes) {
        if (part.lanes == 16) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
        } else {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
        }
    };
    store(part.tokens + at, settled.symbol);
    store(part.tokens + at + part.errors, settled.error);
}

bool decode_part(const ContextModel& model, const RowPart& part, LaneStates& states) {
    if (part.lanes < 16) return context_decode_by_token(model, part, states, checked_token);
    const bool gradient = model.neighbourhood == Neighbourhood::gradient;
    const __m256i most = _mm256_set1_epi8(static_cast<char>((1u << model.bits) - 1));
    const TopLanes top = top_lanes(part.top);
    const auto active = static_cast<unsigned>(_mm_popcnt_u64(part.active));
    const std::uint8_t* next = states.next;
    for (std::size_t column = 0; column < part.columns; ++column) {
        const bool has_left = part.has_left || column > 0;
        const bool has_right = part.has_right || column + 1 < part.columns;
        const std::size_t first = column * part.lanes;
        if (static_cast<std::size_t>(states.end - next) < 2 * std::size_t{part.lanes}) {  // too near the end for unchecked reads
            states.next = next;
            return decode_rest(model, part, column, states);
        }
        if (states.raw_bit > states.raw_bits) return false;
        Contexts contexts;
        for (unsigned lane = 0; lane < part.lanes; lane += 32) {
            if (gradient) {
                const __m256i top_of = _mm256_load_si256(reinterpret_cast<const __m256i*>(top.lane + lane));
                const GradientBytes g = gradient_bytes(part, first + lane, top_of, most, has_left, has_right);
                _mm256_store_si256(reinterpret_cast<__m256i*>(contexts.raw + lane), g.context);
                _mm256_store_si256(reinterpret_cast<__m256i*>(contexts.predicted + lane), g.predicted);
            } else {
                const __m256i context = near_contexts(part, first + lane, top, lane, has_left, has_right, model.bits <= kNarrowBits);
                _mm256_store_si256(reinterpret_cast<__m256i*>(contexts.raw + lane), context);
            }
        }
        for (unsigned lane = 0; lane < active; ++lane) {
            part.tokens[first + lane] = static_cast<std::uint8_t>(decode_token(model, contexts.raw[lane], states.state[lane], next));
        }
        for (unsigned lane = 0; gradient && lane < part.lanes; lane += 32) settle(model, part, first + lane, lane, contexts, most, states);
    }
    states.next = next;
    return true;
}

bool decode(const ContextModel& model, const RowPart& first, const std::uint64_t* tops, std::size_t rows, LaneStates& states) {
    RowPart part = first;
    for (std::size_t row = 0; row < rows; ++row) {
        part.top = tops[row];
        if (!decode_part(model, part, states)) return false;
        part.tokens += part.columns * part.lanes;
        part.above += part.columns * part.lanes;
    }
    return true;
}

}  // namespace

const ContextKernels kContextAvx2 = {split, join, deal, collect, index, predict, pair, context_count_scalar, context_encode_scalar, decode};

std::uint64_t context_split_avx2(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                                 std::uint8_t* raw) {
    return split(symbols, count, classes, tokens, raw);
}
std::uint64_t context_join_avx2(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                std::size_t raw_size) {
    return join(tokens, count, classes, raw, raw_size);
}
void context_predict_avx2(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals) {
    predict(part, bits, contexts, residuals);
}
void context_pair_avx2(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices) {
    pair(contexts, tokens, number, indices);
}
bool context_decode_avx2(const ContextModel& model, const RowPart& part, const std::uint64_t* tops, std::size_t rows, LaneStates& states) {
    return decode(model, part, tops, rows, states);
}
void context_deal_avx2(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* plane) {
    deal(source, offset, lanes, positions, plane);
}
void context_collect_avx2(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* target) {
    collect(plane, offset, lanes, positions, target);
}

}  // namespace featcodec
