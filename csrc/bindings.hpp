// What the binding files share: NumPy arrays as spans, and raising the package's own errors.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "feature.hpp"
#include "featcodec.hpp"

namespace featcodec::python {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;  // bound with noconvert: a wrong dtype or layout is a TypeError

// A new array, its values anything. NumPy is asked itself: py::array_t puts shape and strides on the heap first, which tells in a
// call on one block.
template <typename T>
Array<T> make_array(std::span<const Py_intptr_t> shape) {
    const auto& numpy = py::detail::npy_api::get();
    PyObject* const type = py::dtype::of<T>().release().ptr();  // which the call takes
    PyObject* const array =
        numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, type, static_cast<int>(shape.size()), shape.data(), nullptr, nullptr, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<Array<T>>(array);
}

template <typename T, typename... Sizes>
Array<T> make(Sizes... sizes) {
    const Py_intptr_t shape[] = {static_cast<Py_intptr_t>(sizes)...};
    return make_array<T>(shape);
}

// A contiguous array of T as an argument, taken as it is, for calls on one block: pybind11 makes an array of a py::array_t
// argument even where it has found it to be one. The caller holds the array.
template <typename T>
struct Taken {
    std::span<const T> values;
    std::span<const py::ssize_t> shape;
};

template <typename T>
std::span<T> out_view(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

// The bytes of 1-D arrays for as long as this lives. Another thread may write to an array while it is decoded, and what was checked
// would be read again as something else: they are copied, but for those of a bytes object, to which nobody writes.
class SteadyBytes {
public:
    explicit SteadyBytes(std::span<const Array<std::uint8_t>> arrays);
    std::span<const std::span<const std::uint8_t>> views() const { return views_; }

private:
    std::unique_ptr<std::uint8_t[]> copies_;
    std::vector<std::span<const std::uint8_t>> views_;
};

// Asks whom set_num_threads_by named for the core's number of threads: before the GIL is let go of for work that threads share.
void ask_num_threads();

// A call on fewer values takes microseconds: to let go of the GIL for it, and to wait for it again, would not help another thread.
inline constexpr std::size_t kBriefValues = 1 << 14;

class GilReleaseUnlessBrief {
public:
    explicit GilReleaseUnlessBrief(std::size_t values) {
        if (values < kBriefValues) return;
        ask_num_threads();
        release_.emplace();
    }

private:
    std::optional<py::gil_scoped_release> release_;
};

// Raises a class of featcodec.errors.
[[noreturn]] void raise(const char* error_class, const std::string& message);
// Raises BitstreamError unless all is well.
void check(Status status, std::size_t size_bytes);

// The coder inside a FeatureCoder of Python's.
const FeatureCoder& core_of(py::handle feature_coder);

void bind_ldpc(py::module_& m);
void bind_packets(py::module_& m);
void bind_prior(py::module_& m);
void bind_threads(py::module_& m);
void bind_transform(py::module_& m);

}  // namespace featcodec::python

template <typename T>
struct pybind11::detail::type_caster<featcodec::python::Taken<T>> {
    PYBIND11_TYPE_CASTER(featcodec::python::Taken<T>, handle_type_name<array_t<T>>::name);
    bool load(handle source, bool) {
        using Array = featcodec::python::Array<T>;
        if (!Array::check_(source)) return false;
        const auto array = reinterpret_borrow<Array>(source);
        value = {{array.data(), static_cast<std::size_t>(array.size())}, {array.shape(), static_cast<std::size_t>(array.ndim())}};
        return true;
    }
};
