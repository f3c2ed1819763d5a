// What the files of the context coder share: token classes, lane layout, the kernel table. No inline functions: ISA files read it.
#pragma once

#include "context.hpp"

namespace featcodec {

inline constexpr std::uint32_t kStateLow = 1u << 16;  // a lane's state is in [2^16, 2^32); 16 bits move at a time
inline constexpr unsigned kStateWidth = 17;           // the least
inline constexpr unsigned kNarrowBits = 2;            // up to here the neighbourhood has four symbols, above it two

// Classes of symbols of `bits` bits: symbol = base[token] + the next extra[token] raw bits.
struct TokenClasses {
    std::array<std::uint16_t, kTokens> base{};
    std::array<std::uint8_t, kTokens> extra{};
    std::array<std::uint16_t, kTokens> first{};  // smallest symbol of each class
    alignas(16) std::array<std::uint8_t, 16> low{};   // symbols below 16 -> token
    alignas(16) std::array<std::uint8_t, 16> high{};  // symbols from 16, without their last high_shift bits -> token (bits <= 8)
    unsigned high_shift = 0;
    unsigned count = 0;
    unsigned bits = 0;
    bool raw = false;  // symbols are tokens: no extra bits at all
};
TokenClasses token_classes(unsigned bits, Neighbourhood neighbourhood);

// The rules that give a raw context; docs: "Contexts".
enum class Neighbours : std::uint8_t { two, four, gradient };
Neighbours neighbours_of(Neighbourhood neighbourhood, unsigned bits);
unsigned contexts_of(Neighbours neighbours);

// How symbols are dealt to lanes; docs: "Lanes".
struct LaneLayout {
    unsigned lanes = 0;
    std::size_t width = 0;      // symbols in a row of a lane
    std::size_t rows = 0;       // full rows of every lane
    unsigned longer = 0;        // lanes [0, longer) have `unit` symbols more: a row, or one symbol
    bool by_symbol = false;     // unit is a symbol: one row per lane, no upper neighbours
    std::size_t height = 0;     // rows of a map
};
LaneLayout lane_layout(const ContextShape& shape);

// Some consecutive columns of one row in the plane [position][lane]. For `gradient` the tokens are the symbols.
struct RowPart {
    std::uint8_t* tokens = nullptr;       // [columns][lanes]; where has_left, lanes tokens before it are valid too
    const std::uint8_t* above = nullptr;  // the row above, same columns; readable even where every lane is at a top row, and
                                          // so are `lanes` bytes before and after
    std::ptrdiff_t errors = 0;            // gradient: from a token to |symbol - prediction|, in a plane of its own
    std::size_t columns = 0;
    std::uint64_t top = 0;                // bit per lane: no row above
    std::uint64_t active = 0;             // bit per lane: always a prefix
    bool has_left = false;                // false at column 0
    bool has_right = false;               // false where the last column is the row's last
    unsigned lanes = 0;
};

struct LaneStates {
    alignas(64) std::array<std::uint32_t, kMaxLanes> state{};
    const std::uint8_t* next = nullptr;  // decoder: words are read upwards
    const std::uint8_t* end = nullptr;
    std::uint8_t* front = nullptr;       // encoder: words are written downwards from the end of the buffer
    const std::uint8_t* raw = nullptr;   // decoder, gradient: raw bits in the order of steps, kRawSlack readable bytes behind them
    std::uint64_t raw_bit = 0;
    std::uint64_t raw_bits = 0;          // how many there are; a decoder stops within a step of going past them
};
inline constexpr std::size_t kRawSlack = 80;  // a step takes 64 * 7 bits at most, and windows of 8 bytes

struct ContextKernels {
    // Raster symbols -> tokens and raw bits; returns the bits appended at bit 0 of `raw` (bytes up to the next multiple of 8, and
    // 8 more, are scribbled on).
    std::uint64_t (*split)(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                           std::uint8_t* raw);
    // The reverse, in place: tokens become symbols. raw_size bounds what may be read; returns the bits wanted.
    std::uint64_t (*join)(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                          std::size_t raw_size);
    // plane[position * lanes + lane] = source[offset[lane] + position], and back.
    void (*deal)(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* plane);
    void (*collect)(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* target);
    // raw context * 16 + token of every symbol of the part; two or four neighbours
    void (*index)(const RowPart& part, bool narrow, std::uint16_t* indices);
    // gradient: raw contexts and residuals, and the plane of errors
    void (*predict)(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals);
    void (*pair)(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices);
    void (*count)(const std::uint16_t* indices, std::size_t number, unsigned contexts, std::uint32_t* counts);
    void (*encode)(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes, std::uint64_t active,
                   LaneStates& states);
    // Rows in order, each right behind the one above it: part says where the first lies, tops which lanes have no row above in each.
    // false: the words or the raw bits ran out
    bool (*decode)(const ContextModel& model, const RowPart& part, const std::uint64_t* tops, std::size_t rows, LaneStates& states);
};

extern const ContextKernels kContextScalar;
extern const ContextKernels kContextAvx2;
extern const ContextKernels kContextAvx512;
extern const ContextKernels kContextAvx512Vbmi;

// Tokens in raster order (gradient: symbols) <-> states and words (context_lanes.cpp). `split` takes gradient's raw bits; it has room
// for a byte a symbol and kRawSlack. encode writes so that it ends at `end` and returns where it begins; `indexed`: count has just
// gone over these very tokens in this thread.
struct LaneJob {
    const ContextKernels& kernels;
    const ContextShape& shape;
    Neighbours neighbours;
    unsigned bits;
};
// Returns the raw bits appended at bit 0 of `raw`, which only gradient has; counts may be null.
std::uint64_t context_count_tokens(const LaneJob& job, const std::uint8_t* tokens, ContextCounts* counts, std::uint8_t* raw);
// Gradient's raw bits as the encoder meets them: from the last back, so that they end where the room does. Behind it are
// kRawSlack bytes, zero.
struct RawBits {
    std::span<std::uint8_t> room;
    std::uint64_t number = 0;
};
// raw: where they are wanted; `indexed` is false then.
std::uint8_t* context_encode_tokens(const LaneJob& job, const std::uint8_t* tokens, const ContextModel& model, std::uint8_t* end,
                                    bool indexed, RawBits* raw = nullptr);
void context_copy_raw(const RawBits& raw, std::uint8_t* to);
// Appends bits to those at `to`, of which there are `have`; zeros fill their last byte. Up to kRawSlack bytes behind them are scribbled
// on, and as much is readable behind `from`.
void context_append_bits(const std::uint8_t* from, std::uint64_t number, std::uint8_t* to, std::uint64_t have);
// `raw`: gradient's section, of which every bit must be used.
Status context_decode_tokens(const LaneJob& job, std::span<const std::uint8_t> in, const ContextModel& model,
                             std::span<const std::uint8_t> raw, std::uint8_t* tokens);

// The scalar bodies, for tails of the vector ones.
std::uint64_t context_split_scalar(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                                   std::uint8_t* raw, std::uint64_t bits);
std::uint64_t context_join_scalar(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                  std::size_t raw_size, std::uint64_t bits);
void context_deal_scalar(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions,
                         std::uint8_t* plane);
void context_collect_scalar(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions,
                            std::uint8_t* target);
void context_index_scalar(const RowPart& part, bool narrow, std::uint16_t* indices);
void context_predict_scalar(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals);
void context_pair_scalar(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices);
void context_count_scalar(const std::uint16_t* indices, std::size_t number, unsigned contexts, std::uint32_t* counts);
void context_encode_scalar(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes,
                           std::uint64_t active, LaneStates& states);
// One token of a lane, 0..15; kNoToken where a word is wanted and none is left.
inline constexpr unsigned kNoToken = 16;
using TokenDecoder = unsigned (*)(const ContextModel& model, unsigned context, LaneStates& states, unsigned lane);
bool context_decode_by_token(const ContextModel& model, const RowPart& part, LaneStates& states, TokenDecoder decode);
bool context_decode_gradient_by_token(const ContextModel& model, const RowPart& part, LaneStates& states, TokenDecoder decode);

// The same for symbols of 16 bits; raw needs 8 bytes of slack too.
std::uint64_t context_split_wide(const std::uint16_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                                 std::uint8_t* raw);
std::uint64_t context_join_wide(const std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                std::size_t raw_size, std::uint16_t* symbols);

// Bodies of one instruction set that a larger one uses too.
std::uint64_t context_split_avx2(const std::uint8_t* symbols, std::size_t count, const TokenClasses& classes, std::uint8_t* tokens,
                                 std::uint8_t* raw);
std::uint64_t context_join_avx2(std::uint8_t* tokens, std::size_t count, const TokenClasses& classes, const std::uint8_t* raw,
                                std::size_t raw_size);
void context_deal_avx2(const std::uint8_t* source, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* plane);
void context_collect_avx2(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions, std::uint8_t* target);
void context_predict_avx2(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals);
void context_pair_avx2(const std::uint8_t* contexts, const std::uint8_t* tokens, std::size_t number, std::uint16_t* indices);
bool context_decode_avx2(const ContextModel& model, const RowPart& part, const std::uint64_t* tops, std::size_t rows, LaneStates& states);
void context_collect_avx512(const std::uint8_t* plane, const std::size_t* offset, unsigned lanes, std::size_t positions,
                              std::uint8_t* target);
void context_index_avx512(const RowPart& part, bool narrow, std::uint16_t* indices);
void context_predict_avx512(const RowPart& part, unsigned bits, std::uint8_t* contexts, std::uint8_t* residuals);
void context_encode_avx512(const ContextModel& model, const std::uint16_t* indices, std::size_t columns, unsigned lanes,
                           std::uint64_t active, LaneStates& states);

// The table section of an adaptive encoding.
class BitWriter;
class BitReader;
void context_write_tables(const ContextPlan& plan, unsigned bits, BitWriter& writer);
// The neighbourhood stands in `tables` before.
Status context_read_tables(BitReader& reader, unsigned bits, ContextTables& tables);

}  // namespace featcodec
