// What the binding files share: NumPy arrays as spans, and raising the package's own errors.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>
#include <string>

namespace featcodec::python {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;  // bound with noconvert: a wrong dtype or layout is a TypeError

template <typename T>
Array<T> make(std::size_t size) {
    return Array<T>(static_cast<py::ssize_t>(size));
}

template <typename T>
std::span<T> out_view(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

void bind_ldpc(py::module_& m);

}  // namespace featcodec::python
