// The transforms' part of digest_core.
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <span>
#include <vector>

#include "digest.hpp"
#include "transform_cases.hpp"

namespace fc = featcodec;

namespace {

void print_transform(std::size_t number, const fc::TransformCoder& coder, unsigned quality) {
    const TransformCase& of = kTransformCases[number];
    const fc::TransformGrid grid = fc::transform_grid(of.shape, of.height, of.width);
    const std::vector<float> x = transform_feature(of, 2, quality);
    const fc::TransformEncoded encoded = coder.encode(x, grid, quality);
    std::vector<std::span<const std::uint8_t>> payloads(encoded.payloads.begin(), encoded.payloads.end());
    std::vector<float> y(x.size());
    if (coder.decode(payloads, grid, y) != fc::Status::ok) std::abort();
    std::vector<std::int32_t> components(2 * grid.blocks() * of.shape.places());
    coder.analyse(x, grid, components);
    std::printf("transform %zu quality %u: %zu bytes %08x, components %08x, floats %08x", number, quality, payloads[0].size(),
                digest_of(encoded.payloads[1], digest_of(encoded.payloads[0])), digest_of(components), digest_of(y));
    for (std::int32_t& component : components) component = component / 1024 * (component % 9 == 0 ? 4096 : 1);  // saturates
    coder.synthesise(components, grid, quality, y);
    std::printf(", of integers %08x\n", digest_of(y));
}

}  // namespace

void print_transforms() {
    for (std::size_t number = 0; number < std::size(kTransformCases); ++number) {
        const auto coder = transform_coder(kTransformCases[number], number);
        for (const unsigned quality : {0u, 30u, 55u, 75u, 100u}) print_transform(number, *coder, quality);
    }
}
