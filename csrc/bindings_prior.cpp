// The coder of integers by a prior's tables.
#include <memory>
#include <string>

#include "bindings.hpp"
#include "prior/prior.hpp"

namespace featcodec::python {
namespace {

PriorTables tables_of(const Array<std::int64_t>& frequencies, const Array<std::int64_t>& first) {
    if (frequencies.ndim() != 2 || first.ndim() != 1 || frequencies.shape(1) != static_cast<py::ssize_t>(kPriorWindow + 1) ||
        frequencies.shape(0) != first.shape(0)) {
        throw py::value_error("expected frequencies (maps, 65) and first (maps,)");
    }
    return {{frequencies.data(), static_cast<std::size_t>(frequencies.size())}, {first.data(), static_cast<std::size_t>(first.size())}};
}

void check_prior(Status status, std::size_t size_bytes) {
    if (status == Status::bad_table) raise("BitstreamError", "the state's tables are no frequencies: load a state that a codec of this config saved");
    check(status, size_bytes);
}

Array<std::uint8_t> encode(const Array<std::int64_t>& integers, const Array<std::int64_t>& frequencies, const Array<std::int64_t>& first) {
    const PriorTables tables = tables_of(frequencies, first);
    if (integers.ndim() != 2 || integers.shape(0) != first.shape(0)) throw py::value_error("expected integers (maps, N) of as many maps as tables");
    const std::span<const std::int64_t> in(integers.data(), static_cast<std::size_t>(integers.size()));
    std::unique_ptr<std::uint8_t[]> bytes;
    std::size_t size = 0;
    Status status{};
    {
        const GilReleaseUnlessBrief release(in.size());
        const std::size_t bound = prior_bound(in.size());
        bytes.reset(new std::uint8_t[bound]);  // not zeroed
        status = prior_encode(tables, in, {bytes.get(), bound}, size);
    }
    check_prior(status, 0);
    return Array<std::uint8_t>(static_cast<py::ssize_t>(size), bytes.get());
}

Array<std::int64_t> decode(const Array<std::uint8_t>& data, std::size_t count, const Array<std::int64_t>& frequencies, const Array<std::int64_t>& first) {
    const PriorTables tables = tables_of(frequencies, first);
    if (data.ndim() != 1) throw py::value_error("expected a 1-D array of bytes, got " + std::to_string(data.ndim()) + "-D");
    const std::span<const std::uint8_t> in(data.data(), static_cast<std::size_t>(data.size()));
    auto integers = make<std::int64_t>(tables.first.size(), count);
    const auto to = out_view(integers);
    Status status{};
    {
        const GilReleaseUnlessBrief release(to.size());
        status = prior_decode(tables, in, to);
    }
    check_prior(status, in.size());
    return integers;
}

}  // namespace

void bind_prior(py::module_& m) {
    m.attr("PRIOR_PRECISION") = kPriorPrecision;
    m.attr("PRIOR_WINDOW") = kPriorWindow;
    m.attr("PRIOR_LIMIT") = kPriorLimit;
    m.def("prior_encode", &encode, py::arg("integers").noconvert(), py::arg("frequencies").noconvert(), py::arg("first").noconvert());
    m.def("prior_decode", &decode, py::arg("data").noconvert(), py::arg("count"), py::arg("frequencies").noconvert(), py::arg("first").noconvert());
}

}  // namespace featcodec::python
