// Python's view of the LDPC core: NumPy arrays in, NumPy arrays out, the GIL released around every call.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "bindings.hpp"
#include "ldpc/coder.hpp"

namespace featcodec::python {
namespace {

std::size_t bytes_of(std::size_t bits) { return (bits + 7) / 8; }

class LdpcCode {
public:
    explicit LdpcCode(ldpc::Code code) : coder_(std::make_unique<ldpc::Coder>(std::move(code))) {}

    static LdpcCode wifi(unsigned n, unsigned rate, unsigned k, unsigned punctured) {
        return LdpcCode(ldpc::wifi_code(n, static_cast<ldpc::Rate>(rate), k, punctured));
    }
    static LdpcCode nr(unsigned k, unsigned n) { return LdpcCode(ldpc::nr_code(k, n)); }

    unsigned k() const { return code().k; }
    unsigned n() const { return code().n; }
    unsigned z() const { return code().z; }
    unsigned mother_bits() const { return code().mother_bits(); }

    Array<std::int16_t> shifts() const {
        const ldpc::Matrix& matrix = code().matrix;
        return Array<std::int16_t>({matrix.rows, matrix.cols}, matrix.shifts.data());
    }

    Array<std::uint8_t> encode(const Taken<std::uint8_t>& info) const {
        const std::size_t blocks = rows_of(info, bytes_of(k()));
        auto sent = make<std::uint8_t>(blocks, bytes_of(n()));
        const auto to = out_view(sent);
        ask_num_threads();
        const py::gil_scoped_release release;
        coder_->encode(info.values, to, blocks);
        return sent;
    }

    Array<std::uint8_t> encode_mother(const Taken<std::uint8_t>& info) const {
        const std::size_t blocks = rows_of(info, bytes_of(k()));
        auto mother = make<std::uint8_t>(blocks, bytes_of(mother_bits()));
        const auto to = out_view(mother);
        ask_num_threads();
        const py::gil_scoped_release release;
        coder_->encode_mother(info.values, to, blocks);
        return mother;
    }

    template <typename Llr>
    py::tuple decode_min_sum(const Taken<Llr>& llr, unsigned max_iterations, bool early_stop) const {
        return decode(llr, n(), [&](auto from, std::size_t blocks, ldpc::Decoded out) {
            coder_->decode_min_sum(from, blocks, max_iterations, early_stop, out);
        });
    }

    py::tuple decode_sum_product(const Taken<float>& llr, unsigned max_iterations, bool early_stop) const {
        return decode(llr, n(), [&](auto from, std::size_t blocks, ldpc::Decoded out) {
            coder_->decode_sum_product(from, blocks, max_iterations, early_stop, out);
        });
    }

    template <typename Llr>
    py::tuple decode_erasure(const Taken<Llr>& llr) const {
        return decode(llr, n(), [&](auto from, std::size_t blocks, ldpc::Decoded out) { coder_->decode_erasure(from, blocks, out); });
    }

    py::tuple decode_erasure_packed(const Taken<std::uint8_t>& sent, const Taken<std::uint8_t>& erased) const {
        if (rows_of(erased, bytes_of(n())) != rows_of(sent, bytes_of(n()))) throw py::value_error("as many blocks in `erased` as in `sent`");
        return decode(sent, bytes_of(n()), [&](auto from, std::size_t blocks, ldpc::Decoded out) {
            coder_->decode_erasure_packed(from, erased.values, blocks, out);
        });
    }

    // (info, freedom) or None, of one block.
    py::object complete_erasure(const Taken<std::int8_t>& llr, unsigned most) const {
        if (rows_of(llr, n()) != 1) throw py::value_error("one block is completed at a time");
        auto info = make<std::uint8_t>(bytes_of(k()));
        const auto to = out_view(info);
        std::vector<std::uint8_t> words;
        bool found = false;
        {
            const py::gil_scoped_release release;
            found = coder_->complete_erasure(llr.values, most, to, words);
        }
        if (!found) return py::none();
        auto freedom = make<std::uint8_t>(words.size() / to.size(), to.size());
        std::copy(words.begin(), words.end(), freedom.mutable_data());
        return py::make_tuple(info, freedom);
    }

    Array<std::uint32_t> syndrome_weight(const Taken<std::uint8_t>& mother) const {
        const std::size_t blocks = rows_of(mother, bytes_of(mother_bits()));
        auto weight = make<std::uint32_t>(blocks);
        const auto to = out_view(weight);
        const py::gil_scoped_release release;
        coder_->syndrome_weight(mother.values, to, blocks);
        return weight;
    }

private:
    const ldpc::Code& code() const { return coder_->code(); }

    template <typename T>
    static std::size_t rows_of(const Taken<T>& array, std::size_t width) {
        if (array.shape.size() != 2 || static_cast<std::size_t>(array.shape[1]) != width) {
            throw py::value_error("expected an array (blocks, " + std::to_string(width) + ")");
        }
        return static_cast<std::size_t>(array.shape[0]);
    }

    template <typename T, typename Decode>
    py::tuple decode(const Taken<T>& received, std::size_t width, const Decode& run) const {
        const std::size_t blocks = rows_of(received, width);
        auto bits = make<std::uint8_t>(blocks, bytes_of(k()));
        auto ok = make<bool>(blocks);
        auto iterations = make<std::uint16_t>(blocks);
        const ldpc::Decoded out{out_view(bits), {reinterpret_cast<std::uint8_t*>(ok.mutable_data()), blocks}, out_view(iterations)};
        {
            ask_num_threads();
            const py::gil_scoped_release release;
            run(received.values, blocks, out);
        }
        return py::make_tuple(bits, ok, iterations);
    }

    std::unique_ptr<ldpc::Coder> coder_;
};

Array<std::int8_t> llr_steps(const Taken<float>& llr) {
    Array<std::int8_t> steps(std::vector<py::ssize_t>(llr.shape.begin(), llr.shape.end()));
    const auto to = out_view(steps);
    const py::gil_scoped_release release;
    ldpc::llr_steps(llr.values, to);
    return steps;
}

}  // namespace

void bind_ldpc(py::module_& m) {
    m.def("llr_steps", &llr_steps, py::arg("llr"));
    py::class_<LdpcCode>(m, "LdpcCode")
        .def_static("wifi", &LdpcCode::wifi, py::arg("n"), py::arg("rate"), py::arg("k"), py::arg("punctured"))
        .def_static("nr", &LdpcCode::nr, py::arg("k"), py::arg("n"))
        .def_property_readonly("k", &LdpcCode::k)
        .def_property_readonly("n", &LdpcCode::n)
        .def_property_readonly("z", &LdpcCode::z)
        .def_property_readonly("mother_bits", &LdpcCode::mother_bits)
        .def_property_readonly("shifts", &LdpcCode::shifts)
        .def("encode", &LdpcCode::encode, py::arg("info"))
        .def("encode_mother", &LdpcCode::encode_mother, py::arg("info"))
        .def("decode_min_sum", &LdpcCode::decode_min_sum<std::int8_t>, py::arg("llr"), py::arg("max_iterations"), py::arg("early_stop"))
        .def("decode_min_sum", &LdpcCode::decode_min_sum<float>, py::arg("llr"), py::arg("max_iterations"), py::arg("early_stop"))
        .def("decode_sum_product", &LdpcCode::decode_sum_product, py::arg("llr"), py::arg("max_iterations"), py::arg("early_stop"))
        .def("decode_erasure", &LdpcCode::decode_erasure<std::int8_t>, py::arg("llr"))
        .def("decode_erasure", &LdpcCode::decode_erasure<float>, py::arg("llr"))
        .def("decode_erasure_packed", &LdpcCode::decode_erasure_packed, py::arg("sent"), py::arg("erased"))
        .def("complete_erasure", &LdpcCode::complete_erasure, py::arg("llr"), py::arg("most"))
        .def("syndrome_weight", &LdpcCode::syndrome_weight, py::arg("mother"));
}

}  // namespace featcodec::python
