// The only file that knows Python: NumPy arrays in, NumPy arrays out, the GIL released around every call of the core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "featcodec.hpp"

namespace py = pybind11;
namespace fc = featcodec;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;  // bound with noconvert: a wrong dtype or layout is a TypeError

template <typename T>
std::span<const T> view(const Array<T>& array) {
    if (array.ndim() != 1) throw py::value_error("expected a 1-D array, got " + std::to_string(array.ndim()) + "-D");
    return {array.data(), static_cast<std::size_t>(array.size())};
}

template <typename T>
Array<T> make(std::size_t size) {
    return Array<T>(static_cast<py::ssize_t>(size));
}

template <typename T>
std::span<T> out_view(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

// `array` cut to its first `size` items; the copy is what lets the rest be freed.
template <typename T>
Array<T> head(const Array<T>& array, std::size_t size) {
    return Array<T>(static_cast<py::ssize_t>(size), array.data());
}

void check(fc::Status status, std::size_t size_bytes) {
    if (status == fc::Status::ok) return;
    const std::string message = std::string(fc::describe(status)) + " (" + std::to_string(size_bytes) + " bytes given)";
    const py::object error = py::module_::import("featcodec.errors").attr("BitstreamError");
    PyErr_SetString(error.ptr(), message.c_str());
    throw py::error_already_set();
}

std::uint32_t crc32c(const py::buffer& data, std::uint32_t crc) {
    const py::buffer_info info = data.request();
    if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::value_error("expected a contiguous buffer");
    const std::span<const std::uint8_t> bytes(static_cast<const std::uint8_t*>(info.ptr),
                                              static_cast<std::size_t>(info.size * info.itemsize));
    const py::gil_scoped_release release;
    return fc::crc32c(bytes, crc);
}

Array<std::uint8_t> pack_bits(const Array<std::uint16_t>& symbols, unsigned bits) {
    const auto in = view(symbols);
    auto out = make<std::uint8_t>(fc::packed_size(in.size(), bits));
    const auto to = out_view(out);
    const py::gil_scoped_release release;
    fc::pack_bits(in, bits, to);
    return out;
}

Array<std::uint16_t> unpack_bits(const Array<std::uint8_t>& data, std::size_t count, unsigned bits) {
    const auto in = view(data);
    // Before the allocation: the count may come from a packet.
    if (in.size() != fc::packed_size(count, bits)) {
        check(in.size() < fc::packed_size(count, bits) ? fc::Status::truncated : fc::Status::trailing, in.size());
    }
    auto out = make<std::uint16_t>(count);
    const auto to = out_view(out);
    fc::Status status{};
    {
        const py::gil_scoped_release release;
        status = fc::unpack_bits(in, bits, to);
    }
    check(status, in.size());
    return out;
}

Array<std::uint8_t> golomb_encode(const Array<std::uint32_t>& values) {
    const auto in = view(values);
    auto out = make<std::uint8_t>(fc::golomb_bound(in.size()));
    const auto to = out_view(out);
    std::size_t size = 0;
    {
        const py::gil_scoped_release release;
        size = fc::golomb_encode(in, to);
    }
    return head(out, size);
}

py::tuple golomb_decode(const Array<std::uint8_t>& data, std::size_t count) {
    const auto in = view(data);
    if (count > in.size() * 8) check(fc::Status::truncated, in.size());  // a code takes at least one bit
    auto out = make<std::uint32_t>(count);
    const auto to = out_view(out);
    fc::Status status{};
    std::size_t used = 0;
    {
        const py::gil_scoped_release release;
        status = fc::golomb_decode(in, to, used);
    }
    check(status, in.size());
    return py::make_tuple(out, used);
}

Array<std::uint8_t> huffman_code_lengths(const Array<std::uint32_t>& counts) {
    const auto in = view(counts);
    auto out = make<std::uint8_t>(in.size());
    const auto to = out_view(out);
    const py::gil_scoped_release release;
    fc::huffman_code_lengths(in, to);
    return out;
}

Array<std::uint8_t> huffman_encode(const Array<std::uint16_t>& symbols, unsigned bits) {
    const auto in = view(symbols);
    auto out = make<std::uint8_t>(fc::huffman_bound(in.size(), bits));
    const auto to = out_view(out);
    std::size_t size = 0;
    {
        const py::gil_scoped_release release;
        size = fc::huffman_encode(in, bits, to);
    }
    return head(out, size);
}

Array<std::uint16_t> huffman_decode(const Array<std::uint8_t>& data, std::size_t count, unsigned bits) {
    const auto in = view(data);
    auto out = make<std::uint16_t>(count);
    const auto to = out_view(out);
    fc::Status status{};
    {
        const py::gil_scoped_release release;
        status = fc::huffman_decode(in, bits, to);
    }
    check(status, in.size());
    return out;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "featcodec's C++ core: checksums, bit packing, Huffman coding";
    m.attr("MAX_SYMBOL_BITS") = fc::kMaxSymbolBits;
    m.attr("MAX_CODE_LENGTH") = fc::kMaxCodeLength;
    m.def("crc32c", &crc32c, py::arg("data"), py::arg("crc") = 0);
    m.def("pack_bits", &pack_bits, py::arg("symbols").noconvert(), py::arg("bits"));
    m.def("unpack_bits", &unpack_bits, py::arg("data").noconvert(), py::arg("count"), py::arg("bits"));
    m.def("golomb_encode", &golomb_encode, py::arg("values").noconvert());
    m.def("golomb_decode", &golomb_decode, py::arg("data").noconvert(), py::arg("count"));
    m.def("huffman_code_lengths", &huffman_code_lengths, py::arg("counts").noconvert());
    m.def("huffman_encode", &huffman_encode, py::arg("symbols").noconvert(), py::arg("bits"));
    m.def("huffman_decode", &huffman_decode, py::arg("data").noconvert(), py::arg("count"), py::arg("bits"));
}
