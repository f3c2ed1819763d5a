// What is seen to before the GIL is let go of: how many threads there shall be, and that nobody writes to what is decoded.
#include <algorithm>

#include "bindings.hpp"
#include "threads.hpp"

namespace featcodec::python {
namespace {

PyObject* thread_counter = nullptr;  // never freed: Python may be gone by then

// Whom to ask instead of a number once set; None: nobody.
void set_num_threads_by(const py::object& counter) {
    Py_XDECREF(thread_counter);
    thread_counter = counter.is_none() ? nullptr : counter.inc_ref().ptr();
}

void set_num_threads(unsigned count) {
    set_num_threads_by(py::none());
    featcodec::set_num_threads(count);
}

unsigned num_threads() {
    ask_num_threads();
    return featcodec::num_threads();
}

bool is_of_bytes(const py::array& array) {
    py::object base = array.base();
    while (base && py::isinstance<py::array>(base)) base = py::reinterpret_borrow<py::array>(base).base();
    return base && PyBytes_Check(base.ptr());
}

}  // namespace

void ask_num_threads() {
    if (thread_counter == nullptr) return;
    const auto count = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(thread_counter));
    if (!count) throw py::error_already_set();
    featcodec::set_num_threads(count.cast<unsigned>());
}

SteadyBytes::SteadyBytes(std::span<const Array<std::uint8_t>> arrays) {
    std::size_t copied = 0;
    for (const auto& array : arrays) copied += is_of_bytes(array) ? 0 : static_cast<std::size_t>(array.size());
    copies_ = std::make_unique_for_overwrite<std::uint8_t[]>(copied);
    views_.reserve(arrays.size());
    std::uint8_t* to = copies_.get();
    for (const auto& array : arrays) {
        if (array.ndim() != 1) throw py::value_error("expected a 1-D array, got " + std::to_string(array.ndim()) + "-D");
        views_.emplace_back(array.data(), static_cast<std::size_t>(array.size()));
        if (is_of_bytes(array)) continue;
        std::copy(views_.back().begin(), views_.back().end(), to);
        views_.back() = {to, views_.back().size()};
        to += views_.back().size();
    }
}

void bind_threads(py::module_& m) {
    m.def("set_num_threads", &set_num_threads, py::arg("count"));
    m.def("set_num_threads_by", &set_num_threads_by, py::arg("counter"));
    m.def("num_threads", &num_threads);
}

}  // namespace featcodec::python
