// The transform coder.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "transform/transform.hpp"

namespace featcodec::python {
namespace {

// The arrays of a state by name, for as long as this lives.
class StateArrays {
public:
    explicit StateArrays(py::dict state) : state_(std::move(state)) {}

    // Of that name, type and shape.
    template <typename T>
    std::span<const T> get(const char* name, std::vector<py::ssize_t> sizes) const {
        if (!state_.contains(name)) throw py::value_error(std::string("the state has no ") + name);
        const py::object value = state_[name];
        if (!Array<T>::check_(value)) throw py::type_error(std::string(name) + " must be a contiguous array of its type");
        const auto array = py::reinterpret_borrow<Array<T>>(value);
        bool fits = array.ndim() == static_cast<py::ssize_t>(sizes.size());
        for (std::size_t i = 0; fits && i < sizes.size(); ++i) fits = array.shape(static_cast<py::ssize_t>(i)) == sizes[i];
        if (!fits) throw py::value_error(std::string(name) + " has another shape than the transform's parameters say");
        return {array.data(), static_cast<std::size_t>(array.size())};
    }

    py::ssize_t rows_of(const char* name) const {
        if (!state_.contains(name)) throw py::value_error(std::string("the state has no ") + name);
        return static_cast<py::ssize_t>(py::len(state_[name]));
    }

private:
    py::dict state_;
};

std::unique_ptr<TransformCoder> make_coder(std::size_t maps, std::size_t block_height, std::size_t block_width, std::size_t group, py::dict state) {
    const StateArrays arrays(std::move(state));
    const TransformShape shape{maps, block_height, block_width, group, static_cast<std::size_t>(arrays.rows_of("analysis")),
                               static_cast<std::size_t>(arrays.rows_of("chosen"))};
    const auto signed_size = [](std::size_t size) { return static_cast<py::ssize_t>(size); };
    const py::ssize_t zones = signed_size(shape.zones), c = signed_size(maps), g = signed_size(group), n = signed_size(shape.joint);
    const py::ssize_t bh = signed_size(block_height), bw = signed_size(block_width), places = bh * bw * c;
    const TransformState own{
        .scale = arrays.get<std::int32_t>("scale", {1})[0],
        .mean = arrays.get<std::int16_t>("mean", {c, bh, bw}),
        .zone = arrays.get<std::int16_t>("zone", {bh * bw}),
        .analysis = arrays.get<std::int16_t>("analysis", {zones, c, g}),
        .analysis_shift = arrays.get<std::uint8_t>("analysis_shift", {zones, c}),
        .synthesis = arrays.get<std::int16_t>("synthesis", {zones, c, g}),
        .synthesis_shift = arrays.get<std::uint8_t>("synthesis_shift", {zones, c}),
        .chosen = arrays.get<std::int32_t>("chosen", {n}),
        .joint_analysis = arrays.get<std::int16_t>("joint_analysis", {n, n}),
        .joint_analysis_shift = arrays.get<std::uint8_t>("joint_analysis_shift", {n}),
        .joint_synthesis = arrays.get<std::int16_t>("joint_synthesis", {n, n}),
        .joint_synthesis_shift = arrays.get<std::uint8_t>("joint_synthesis_shift", {n}),
        .offset = arrays.get<std::uint8_t>("offset", {places}),
        .scale_class = arrays.get<std::uint8_t>("scale_class", {places}),
        .tables = arrays.get<std::int32_t>("tables", {signed_size(kTransformTables), signed_size(kTransformEntries)}),
        .drift = arrays.get<std::int16_t>("drift", {signed_size(kTransformTables), signed_size(kTransformEntries)}),
    };
    if (const char* problem = transform_problem(shape, own); problem != nullptr) raise("ConfigError", std::string("the state's ") + problem);
    return std::make_unique<TransformCoder>(shape, own);
}

TransformGrid grid_of(const TransformCoder& coder, const Array<float>& values) {
    if (values.ndim() != 4 || values.shape(1) != static_cast<py::ssize_t>(coder.shape().maps)) {
        throw py::value_error("expected values (B, " + std::to_string(coder.shape().maps) + ", h, w)");
    }
    return transform_grid(coder.shape(), static_cast<std::size_t>(values.shape(2)), static_cast<std::size_t>(values.shape(3)));
}

std::span<const float> view(const Array<float>& values) { return {values.data(), static_cast<std::size_t>(values.size())}; }

void check_finite(bool finite) {
    if (!finite) throw py::value_error("a value is not finite");
}

py::list encode(const TransformCoder& coder, const Array<float>& values, unsigned quality) {
    const TransformGrid grid = grid_of(coder, values);
    TransformEncoded encoded;
    {
        const GilReleaseUnlessBrief release(static_cast<std::size_t>(values.size()));
        encoded = coder.encode(view(values), grid, quality);
    }
    check_finite(encoded.finite);
    py::list payloads(encoded.payloads.size());
    for (std::size_t i = 0; i < encoded.payloads.size(); ++i) {
        auto array = make<std::uint8_t>(encoded.payloads[i].size());
        std::memcpy(array.mutable_data(), encoded.payloads[i].data(), encoded.payloads[i].size());
        payloads[i] = array;
    }
    return payloads;
}

Array<float> decode(const TransformCoder& coder, const py::list& payloads, std::size_t height, std::size_t width) {
    const TransformGrid grid = transform_grid(coder.shape(), height, width);
    std::vector<Array<std::uint8_t>> arrays;
    for (const py::handle payload : payloads) {
        if (!Array<std::uint8_t>::check_(payload)) throw py::type_error("payloads must be contiguous arrays of uint8");
        arrays.push_back(py::reinterpret_borrow<Array<std::uint8_t>>(payload));
        if (arrays.back().ndim() != 1) throw py::value_error("payloads must be 1-D");
    }
    const SteadyBytes steady(arrays);
    auto values = make<float>(arrays.size(), coder.shape().maps, height, width);
    const auto to = out_view(values);
    Status status{};
    {
        const GilReleaseUnlessBrief release(to.size());
        status = coder.decode(steady.views(), grid, to);
    }
    check(status, arrays.empty() ? 0 : steady.views()[0].size());
    return values;
}

Array<std::int32_t> analyse(const TransformCoder& coder, const Array<float>& values) {
    const TransformGrid grid = grid_of(coder, values);
    auto components = make<std::int32_t>(values.shape(0), grid.blocks(), coder.shape().places());
    const auto to = out_view(components);
    bool finite = true;
    {
        const GilReleaseUnlessBrief release(to.size());
        finite = coder.analyse(view(values), grid, to);
    }
    check_finite(finite);
    return components;
}

Array<float> synthesise(const TransformCoder& coder, const Array<std::int32_t>& integers, unsigned quality, std::size_t height, std::size_t width) {
    const TransformGrid grid = transform_grid(coder.shape(), height, width);
    if (integers.ndim() != 3 || integers.shape(1) != static_cast<py::ssize_t>(grid.blocks()) ||
        integers.shape(2) != static_cast<py::ssize_t>(coder.shape().places())) {
        throw py::value_error("expected integers (B, " + std::to_string(grid.blocks()) + ", " + std::to_string(coder.shape().places()) + ")");
    }
    auto values = make<float>(integers.shape(0), coder.shape().maps, height, width);
    const auto to = out_view(values);
    {
        const GilReleaseUnlessBrief release(to.size());
        coder.synthesise({integers.data(), static_cast<std::size_t>(integers.size())}, grid, quality, to);
    }
    return values;
}

Array<std::int64_t> tally(const TransformCoder& coder, const Array<std::int32_t>& components, unsigned quality) {
    if (components.ndim() != 3 || components.shape(2) != static_cast<py::ssize_t>(coder.shape().places())) {
        throw py::value_error("expected components (B, blocks, " + std::to_string(coder.shape().places()) + ")");
    }
    auto counts = make<std::int64_t>(kTransformTables, kTransformEntries);
    const auto to = out_view(counts);
    std::fill(to.begin(), to.end(), 0);
    {
        const GilReleaseUnlessBrief release(static_cast<std::size_t>(components.size()));
        coder.tally({components.data(), static_cast<std::size_t>(components.size())}, static_cast<std::size_t>(components.shape(1)), quality, to);
    }
    return counts;
}

}  // namespace

void bind_transform(py::module_& m) {
    py::class_<TransformCoder>(m, "TransformCoder")
        .def(py::init(&make_coder), py::arg("maps"), py::arg("block_height"), py::arg("block_width"), py::arg("group"), py::arg("state"))
        .def("encode", &encode, py::arg("values").noconvert(), py::arg("quality"))
        .def("decode", &decode, py::arg("payloads"), py::arg("height"), py::arg("width"))
        .def("analyse", &analyse, py::arg("values").noconvert())
        .def("synthesise", &synthesise, py::arg("integers").noconvert(), py::arg("quality"), py::arg("height"), py::arg("width"))
        .def("tally", &tally, py::arg("components").noconvert(), py::arg("quality"));
}

}  // namespace featcodec::python
