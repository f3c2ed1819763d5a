// The one-frame min-sum decoder with AVX2: 32 rows at a time over mirrored columns.
#include <immintrin.h>

#include <cstring>

#include "single_kernel.hpp"

namespace featcodec::ldpc::single {

namespace {

struct Lanes32 {
    using Vec = __m256i;
    static constexpr std::uint32_t kLanes = 32;

    static Vec load(const std::int8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const Vec*>(from)); }
    static void store(std::int8_t* to, Vec value) { _mm256_storeu_si256(reinterpret_cast<Vec*>(to), value); }
    static Vec load_some(const std::int8_t* from, std::uint32_t count) {
        alignas(32) std::int8_t bytes[32] = {};
        std::memcpy(bytes, from, count);
        return load(bytes);
    }
    static void store_some(std::int8_t* to, std::uint32_t count, Vec value) {
        alignas(32) std::int8_t bytes[32];
        store(bytes, value);
        std::memcpy(to, bytes, count);
    }

    static Vec set1(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
    static Vec adds(Vec a, Vec b) { return _mm256_adds_epi8(a, b); }
    static Vec subs(Vec a, Vec b) { return _mm256_subs_epi8(a, b); }
    static Vec subs_u(Vec a, Vec b) { return _mm256_subs_epu8(a, b); }
    static Vec max_s(Vec a, Vec b) { return _mm256_max_epi8(a, b); }
    static Vec min_s(Vec a, Vec b) { return _mm256_min_epi8(a, b); }
    static Vec max_u(Vec a, Vec b) { return _mm256_max_epu8(a, b); }
    static Vec min_u(Vec a, Vec b) { return _mm256_min_epu8(a, b); }
    static Vec abs(Vec a) { return _mm256_abs_epi8(a); }
    static Vec exclusive_or(Vec a, Vec b) { return _mm256_xor_si256(a, b); }

    // Signs stay vectors: never zero, as vpsignb makes nothing of a zero sign.
    static Vec negative(Vec value) { return _mm256_or_si256(value, set1(1)); }
    static Vec negate(Vec sign, Vec value) { return _mm256_sign_epi8(value, sign); }
    static Vec where_equal(Vec a, Vec b, Vec equal, Vec other) {
        return exclusive_or(other, _mm256_and_si256(_mm256_cmpeq_epi8(a, b), exclusive_or(equal, other)));
    }

    static std::uint32_t first_lanes(std::uint32_t count) { return count < 32 ? (1u << count) - 1 : ~0u; }
    static bool any_negative(Vec value, std::uint32_t count) {
        return (static_cast<std::uint32_t>(_mm256_movemask_epi8(value)) & first_lanes(count)) != 0;
    }
    static bool any_zero(Vec value, std::uint32_t count) { return any_negative(_mm256_cmpeq_epi8(value, _mm256_setzero_si256()), count); }
    // The signs of the first `count` bytes, packed most significant bit first.
    static std::uint64_t decisions(Vec value, std::uint32_t count) {
        const Vec keep = _mm256_cmpgt_epi8(set1(static_cast<int>(count < 32 ? count : 32)), _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
        const Vec reversed = _mm256_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607);
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_shuffle_epi8(_mm256_and_si256(value, keep), reversed)));
    }
};

#include "single_rows.inc"

}  // namespace

Outcome decode_block_avx2(const View& view, const std::int8_t* llr, unsigned max_iterations, bool early_stop, std::int8_t* work, std::uint8_t* bits) {
    return Decoder<Lanes32, Mirrored<Lanes32>>::run(view, llr, max_iterations, early_stop, work, bits);
}

}  // namespace featcodec::ldpc::single
