// See transform_cases.hpp.
#include "transform_cases.hpp"

#include <algorithm>
#include <span>

namespace fc = featcodec;

namespace {

constexpr std::int32_t kScale = 7;

// splitmix64
class Draws {
public:
    explicit Draws(std::uint64_t seed) : seed_(seed) {}

    std::int32_t below(std::uint32_t limit) {
        seed_ += 0x9E3779B97F4A7C15u;
        std::uint64_t z = seed_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return static_cast<std::int32_t>((z ^ (z >> 31)) >> 33) % static_cast<std::int32_t>(limit);
    }

private:
    std::uint64_t seed_;
};

// Strong on the diagonal, its rows' absolutes at most 3 * 2^13 in all.
std::vector<std::int16_t> matrices(std::size_t rows, std::size_t columns, Draws& draws) {
    std::vector<std::int16_t> numbers(rows * columns);
    const auto spread = static_cast<std::int32_t>(16384 / std::max<std::size_t>(1, columns));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const bool diagonal = i / columns % columns == i % columns;
        numbers[i] = static_cast<std::int16_t>((diagonal ? 8191 : 0) + draws.below(static_cast<std::uint32_t>(2 * spread + 1)) - spread);
    }
    return numbers;
}

std::vector<std::uint8_t> numbers(std::size_t count, int least, std::uint32_t limit, Draws& draws) {
    std::vector<std::uint8_t> made(count);
    for (std::uint8_t& one : made) one = static_cast<std::uint8_t>(least + draws.below(limit));
    return made;
}

std::vector<std::int32_t> places(const fc::TransformShape& shape) {
    std::vector<std::int32_t> chosen(shape.joint);
    for (std::size_t j = 0; j < shape.joint; ++j) chosen[j] = static_cast<std::int32_t>(j * shape.places() / shape.joint);
    return chosen;
}

std::vector<std::int16_t> zones(const fc::TransformShape& shape) {
    std::vector<std::int16_t> made(shape.frequencies());
    for (std::size_t f = 0; f < made.size(); ++f) made[f] = static_cast<std::int16_t>(f * shape.zones / made.size());
    return made;
}

std::vector<std::int32_t> tables(Draws& draws) {
    std::vector<std::int32_t> made(fc::kTransformTables * fc::kTransformEntries);
    for (std::size_t first = 0; first < made.size(); first += fc::kTransformEntries) {
        std::int32_t left = 65536;
        for (std::size_t k = 1; k < fc::kTransformEntries; ++k) {
            const auto most = static_cast<std::uint32_t>(1 + first * 8);  // later tables are flatter
            left -= made[first + k] = 1 + draws.below(std::max(1u, std::min(4000u, most)));
        }
        made[first] = left;
    }
    return made;
}

std::vector<std::int16_t> drifts(Draws& draws) {
    std::vector<std::int16_t> made(fc::kTransformTables * fc::kTransformEntries);
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = static_cast<std::int16_t>(draws.below(600) - (i % fc::kTransformEntries == 0 ? 400 : 100));
    return made;
}

std::vector<std::int16_t> means(std::size_t count, Draws& draws) {
    std::vector<std::int16_t> made(count);
    for (std::int16_t& mean : made) mean = static_cast<std::int16_t>(draws.below(4000) - 1000);
    return made;
}

}  // namespace

std::unique_ptr<fc::TransformCoder> transform_coder(const TransformCase& of, std::uint64_t seed) {
    Draws draws(seed);
    const fc::TransformShape& shape = of.shape;
    const std::size_t rows = shape.zones * shape.maps, joint = shape.joint;
    const auto mean = means(shape.places(), draws);
    const auto zone = zones(shape);
    const auto analysis = matrices(rows, shape.group, draws), synthesis = matrices(rows, shape.group, draws);
    const auto joint_analysis = matrices(joint, joint, draws), joint_synthesis = matrices(joint, joint, draws);
    const auto analysis_shift = numbers(rows, 7, 3, draws), synthesis_shift = numbers(rows, 10, 4, draws);
    const auto joint_analysis_shift = numbers(joint, 5, 3, draws), joint_synthesis_shift = numbers(joint, 12, 3, draws);
    const auto chosen = places(shape);
    const auto offset = numbers(shape.places(), 0, 97, draws), scale_class = numbers(shape.places(), 60, 140, draws);
    const auto frequencies = tables(draws);
    const auto drift = drifts(draws);
    return std::make_unique<fc::TransformCoder>(
        shape, fc::TransformState{kScale, mean, zone, analysis, analysis_shift, synthesis, synthesis_shift, chosen, joint_analysis, joint_analysis_shift,
                                  joint_synthesis, joint_synthesis_shift, offset, scale_class, frequencies, drift});
}

std::vector<float> transform_feature(const TransformCase& of, std::size_t samples, std::uint64_t seed) {
    Draws draws(seed);
    std::vector<float> x(samples * of.shape.maps * of.height * of.width);
    for (float& value : x) {
        value = static_cast<float>(draws.below(1 << 13) - 3000) * 0x1p-9f;
        if (draws.below(200) == 0) value *= 1024.0f;
    }
    return x;
}
