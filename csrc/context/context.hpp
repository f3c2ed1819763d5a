// Context coding of quantised feature maps: tokens by rANS given the left and the upper neighbour, the rest as raw bits.
//
// Who allocates: the caller, by context_bound(); scratch is thread_local inside. What may be wrong with received bytes or tables
// is a Status; spans that do not fit the shape are std::invalid_argument. docs/context.md holds the normative stream.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "cpu.hpp"
#include "featcodec.hpp"

namespace featcodec {

inline constexpr unsigned kTokens = 16;           // classes of symbols
inline constexpr unsigned kNearContexts = 64;     // values that left and up may give
inline constexpr unsigned kGradientContexts = 240;  // values that a prediction and its surroundings may give
inline constexpr unsigned kRawContexts = 256;     // room for either
inline constexpr unsigned kContextTables = 32;    // distinct distributions they are mapped to
inline constexpr unsigned kFrequencyBits = 12;    // each distribution sums to 2^12
inline constexpr std::uint32_t kFrequencySum = 1u << kFrequencyBits;
inline constexpr unsigned kMaxLanes = 64;

// What a symbol is coded given. near: tokens of the neighbours. gradient (bits <= 8): the symbol's place among all, seen from a
// prediction, given how rough the surroundings are.
enum class Neighbourhood : std::uint8_t { near = 0, gradient = 1 };
inline constexpr unsigned kGradientBits = 8;

// maps x height x width symbols in raster order; left and up are neighbours within one map.
struct ContextShape {
    std::size_t maps = 0;
    std::size_t height = 0;
    std::size_t width = 0;
    unsigned lanes = 0;  // a power of two, at most context_lanes(); 0: that many
};
unsigned context_lanes(const ContextShape& shape);

// How often each token came in each raw context of one neighbourhood: counts[context * kTokens + token].
using ContextCounts = std::array<std::uint32_t, kRawContexts * kTokens>;

// Distributions as integers: what a codec keeps in its state. frequencies[table * kTokens + token].
struct ContextTables {
    std::array<std::uint8_t, kRawContexts> table_of{};
    std::array<std::uint16_t, kContextTables * kTokens> frequencies{};
    std::uint8_t tables = 0;  // used; 1..kContextTables
    std::uint8_t tokens = 0;  // used; 2..kTokens
    Neighbourhood neighbourhood = Neighbourhood::near;
};

// Tables in the form the kernels read; made by context_model().
struct ContextModel {
    alignas(64) std::array<std::uint16_t, kTokens * kContextTables> start_of{};  // [token][table]; 2^12 past the last token
    alignas(64) std::array<std::uint32_t, kRawContexts * kTokens> code;        // [raw context][token]: start << 16 | frequency; of
                                                                               // raw contexts that the neighbourhood has
    alignas(64) std::array<std::uint8_t, kRawContexts> table_bytes{};          // [raw context]
    // [code]. Up to two bits: 16 * up + 4 * corners + left, and without a row above 64 + left; else, near: the raw context;
    // gradient: 16 * level + 3 * place + 1, and 1 more for sign 1, one less for sign 2.
    alignas(64) std::array<std::uint8_t, 256> table_of_code{};
    alignas(64) std::array<std::uint16_t, 3 * 64> fine_starts{};  // [t - 1][table * 4 + 3 - q]: of token 4 q + t, for 16 tables
    alignas(64) std::array<std::uint16_t, kContextTables * (kTokens + 1)> starts{};  // [table][token], then 2^12
    alignas(64) std::array<std::uint16_t, kContextTables * kTokens> rows{};    // starts without their last, as [table][token]
    alignas(16) std::array<std::uint8_t, kTokens> base{};   // gradient: first symbol of each class,
    alignas(16) std::array<std::uint8_t, kTokens> extra{};  // raw bits of each class,
    alignas(16) std::array<std::uint8_t, kTokens> mask{};   // and as many ones
    unsigned tables = 0;
    unsigned tokens = 0;
    unsigned bits = 0;
    Neighbourhood neighbourhood = Neighbourhood::near;
};

// Adaptive tables chosen from counts, with what they will cost.
struct ContextPlan {
    ContextTables tables;
    std::array<std::uint8_t, kContextTables> dominant{};  // token whose frequency is not sent, for it takes the rest
    unsigned mantissa_bits = 0;
    unsigned golomb_order = 0;
    std::uint64_t table_bits = 0;
    std::uint64_t coded_bytes = 0;  // of the words
    std::uint64_t size_bytes = 0;  // estimate of the whole encoding, within about 0.6 % above 1 KB
};

struct ContextKernels;  // one set per instruction set

// Bytes that any encoding of this shape fits in (adaptive or static).
std::size_t context_bound(const ContextShape& shape, unsigned bits);

// Adds the counts of one tensor. Symbols must be below 2^bits; bits 1..8 for bytes, 1..16 for the wide type; gradient: 1..8.
void context_count(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape, unsigned bits,
                   Neighbourhood neighbourhood, ContextCounts& counts);
void context_count(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape, unsigned bits,
                   Neighbourhood neighbourhood, ContextCounts& counts);

// Static tables from counts over some features: every token codable in every context.
ContextTables context_train(const ContextCounts& counts, unsigned bits, Neighbourhood neighbourhood);
// The neighbourhood to take, from the counts of some symbols: gradient where it saves 2.5 % of the bits.
Neighbourhood context_choose(const ContextCounts& near, const ContextCounts& gradient, unsigned bits);
// Bits * 16 that a token of features counted thus takes with such tables.
unsigned context_rate(const ContextCounts& counts, const ContextTables& tables);
// Lanes that such features are worth, from the bytes of their words: a lane takes two and a half bytes more. At least `least`, where the
// shape has as many.
unsigned context_lanes_for(std::uint64_t coded_bytes, const ContextShape& shape, unsigned least);
// Checks tables (sums, ranges) and lays them out; `is_static`: every token of `bits` must have a frequency.
Status context_model(const ContextTables& tables, unsigned bits, bool is_static, ContextModel& model);
ContextPlan context_plan(const ContextCounts& counts, const ContextShape& shape, unsigned bits, Neighbourhood neighbourhood);
// Estimated bytes with given static tables.
std::uint64_t context_static_cost(const ContextCounts& counts, const ContextModel& model, const ContextShape& shape, unsigned bits);

// Bytes written.
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out);
std::size_t context_encode_static(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                  unsigned bits, const ContextModel& model, std::span<std::uint8_t> out);

// Adaptive: counting, planning and encoding. Chooses neighbourhood and lanes and says which; 0 bytes, with nothing written, where
// is_worth of the bytes that the plan promises says no: another mode takes fewer. It may write to `out` itself.
struct ContextChoice {
    Neighbourhood neighbourhood = Neighbourhood::near;
    unsigned lanes = 0;
};
std::size_t context_encode_if(const ContextKernels& kernels, std::span<const std::uint8_t> symbols, const ContextShape& shape,
                                 unsigned bits, const std::function<bool(std::uint64_t)>& is_worth, std::span<std::uint8_t> out, ContextChoice& choice);
std::size_t context_encode_if(const ContextKernels& kernels, std::span<const std::uint16_t> symbols, const ContextShape& shape,
                                 unsigned bits, const std::function<bool(std::uint64_t)>& is_worth, std::span<std::uint8_t> out, ContextChoice& choice);

// `in` must be exactly one encoding; symbols.size() must be maps * height * width.
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape,
                               unsigned bits, Neighbourhood neighbourhood, std::span<std::uint8_t> symbols);
Status context_decode_adaptive(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape,
                               unsigned bits, Neighbourhood neighbourhood, std::span<std::uint16_t> symbols);
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape,
                             unsigned bits, const ContextModel& model, std::span<std::uint8_t> symbols);
Status context_decode_static(const ContextKernels& kernels, std::span<const std::uint8_t> in, const ContextShape& shape,
                             unsigned bits, const ContextModel& model, std::span<std::uint16_t> symbols);

// The bytes of the tables before an adaptive encoding, read as context_decode_adaptive does.
Status context_table_bytes(std::span<const std::uint8_t> in, unsigned bits, Neighbourhood neighbourhood, std::size_t& used);

}  // namespace featcodec
