// Features of tensors to packets and back in one call each, where all but the values has been seen before: for Python to look it up
// and to build the packet took as long as coding a small one.
#include <pybind11/stl.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "crushed.hpp"
#include "feature.hpp"

namespace featcodec::python {
namespace {

// Names of Python's, made once: a lookup by them compares addresses.
struct Names {
    static PyObject* of(const char* name) { return PyUnicode_InternFromString(name); }
    PyObject* const shape = of("shape");
    PyObject* const dtype = of("dtype");
    PyObject* const kind = of("kind");
    PyObject* const config_crc = of("config_crc");
    PyObject* const checksum = of("checksum");
    PyObject* const payload = of("payload");
    PyObject* const is_contiguous = of("is_contiguous");
    PyObject* const is_cpu = of("is_cpu");
    PyObject* const is_neg = of("is_neg");
    PyObject* const data_ptr = of("data_ptr");
    PyObject* const view = of("view");
    PyObject* const table_sizes = of("table_sizes");
    PyObject* const version = of("_version");
};

const Names& names() {
    static const Names* const once = new Names;  // never freed: Python may be gone by then
    return *once;
}

py::object taken(PyObject* object) {
    if (object == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(object);
}

std::size_t varint_size(std::size_t value) { return (std::max<std::size_t>(1, std::bit_width(value)) + 6) / 7; }

FloatType float_type(unsigned type) {
    if (type > static_cast<unsigned>(FloatType::bfloat16)) throw py::value_error("types are 0 float32, 1 float16, 2 bfloat16");
    return static_cast<FloatType>(type);
}

// Features of one shape and type.
class Way {
public:
    // fields: a packet's, by name, with anything for the payload: replacing it in a copy is less work than adding it. dtype: torch's.
    // in_place: the core takes a tensor's values as they lie in memory.
    Way(py::dict fields, py::object dtype, unsigned type, std::size_t samples, std::size_t maps, std::size_t height, std::size_t width,
        bool in_place)
        : fields_(std::move(fields)),
          dtype_(std::move(dtype)),
          type_(float_type(type)),
          samples_(samples),
          shape_{maps, height, width},
          in_place_(in_place) {
        sizes_.push_back(0);
        for (const py::handle size : py::tuple(fields_["shape"])) sizes_.push_back(size.cast<Py_intptr_t>());
    }

    PyObject* dtype() const { return dtype_.ptr(); }
    bool in_place() const { return in_place_; }
    std::size_t samples() const { return samples_; }
    // Of a packet's header, where it carries no checksum: bitstream.py, Packet.frame_bits.
    std::size_t frame_bits(std::size_t payload_bytes) const {
        std::size_t size = 12 + varint_size(payload_bytes);
        for (std::size_t i = 1; i < sizes_.size(); ++i) size += varint_size(static_cast<std::size_t>(sizes_[i]));
        return 8 * size;
    }
    // Of one sample: the rows of a feature (T, D); any other is one.
    std::size_t tokens() const { return sizes_.size() == 3 ? static_cast<std::size_t>(sizes_[1]) : 1; }
    const ContextShape& shape() const { return shape_; }
    FloatSpan values_at(std::uintptr_t address) const {
        return {reinterpret_cast<const void*>(address), samples_ * shape_.maps * shape_.height * shape_.width, type_};
    }

    bool is(PyObject* name, const py::object& value) const { return PyDict_GetItem(fields_.ptr(), name) == value.ptr(); }
    bool equals(PyObject* name, const py::object& value) const {
        const int equal = PyObject_RichCompareBool(PyDict_GetItem(fields_.ptr(), name), value.ptr(), Py_EQ);
        if (equal < 0) throw py::error_already_set();
        return equal == 1;
    }

    // A packet of a type that has nothing to do but to hold its fields.
    py::object packet(PyTypeObject* type, const std::vector<std::uint8_t>& payload) const {
        auto array = make<std::uint8_t>(payload.size());
        std::memcpy(array.mutable_data(), payload.data(), payload.size());
        const py::object fields = taken(PyDict_Copy(fields_.ptr()));
        py::object packet = taken(type->tp_alloc(type, 0));
        if (PyDict_SetItem(fields.ptr(), names().payload, array.ptr()) != 0) throw py::error_already_set();
        if (PyObject_GenericSetDict(packet.ptr(), fields.ptr(), nullptr) != 0) throw py::error_already_set();
        return packet;
    }

    bool is_half() const { return type_ != FloatType::float32; }
    // Of so many samples: float32, or uint16 for a half type.
    py::array array(std::size_t samples) const {
        auto sizes = sizes_;
        sizes[0] = static_cast<Py_intptr_t>(samples);
        if (is_half()) return make_array<std::uint16_t>(sizes);
        return make_array<float>(sizes);
    }
    MutableFloatSpan values_of(py::array& array) const { return {array.mutable_data(), static_cast<std::size_t>(array.size()), type_}; }

private:
    py::dict fields_;
    py::object dtype_;
    FloatType type_;
    std::size_t samples_;
    ContextShape shape_;
    bool in_place_;
    std::vector<Py_intptr_t> sizes_;  // of an array: samples, then the shape of one
};

// The fast way of one codec, for as long as its tables do not change. What it knows Python tells it: for encoding a batch's shape and
// torch's dtype -> Way, for decoding a sample's shape and the dtype's name.
class PacketCoder {
public:
    // from_numpy: torch's. sizes: the buffer of the tables' sizes, which is written whenever a table is; None where there are none.
    PacketCoder(py::object coder, py::type tensor, py::object from_numpy, py::type packet, py::object sizes, long version)
        : owner_(std::move(coder)),
          coder_(core_of(owner_)),
          tensor_(std::move(tensor)),
          from_numpy_(std::move(from_numpy)),
          packet_(std::move(packet)),
          sizes_(std::move(sizes)),
          version_(version) {}

    const py::dict& encoding() const { return encoding_; }
    const py::dict& decoding() const { return decoding_; }

    // Whether these, a codec's buffers by name, still hold the tables that it was made of.
    bool is_of(const py::dict& buffers) const {
        PyObject* const sizes = PyDict_GetItem(buffers.ptr(), names().table_sizes);
        if (sizes_.is_none()) return sizes == nullptr;
        if (sizes != sizes_.ptr()) return false;
        PyObject* const version = PyObject_GetAttr(sizes, names().version);
        if (version == nullptr) {  // a tensor of inference mode counts no changes
            PyErr_Clear();
            return false;
        }
        return PyLong_AsLong(py::reinterpret_steal<py::object>(version).ptr()) == version_;
    }

    // The packets of a tensor; None where it is of no known shape and type, or does not lie as the core reads it.
    py::object encode(py::handle x, const py::dict& buffers) const {
        const py::object found = find_way(x, buffers);
        return found.is_none() ? found : encode_at(address_of(x), found.cast<const Way&>());
    }

    // The packets of values at an address, whose memory outlives the call.
    py::list encode_at(std::uintptr_t address, const Way& way) const { return packets_of(encoded_at(address, way), way); }

    // A float32 tensor's way there and back in one call: packets, the tensor that they decode to, the seconds of either; tokens of a
    // sample, how many are crushed in all and in the worst one; bits of payloads and of frames. None as for encode.
    py::object cross(py::handle x, const py::dict& buffers) const {
        using Clock = std::chrono::steady_clock;
        const py::object found = find_way(x, buffers);
        if (found.is_none() || found.cast<const Way&>().is_half()) return py::none();
        const auto& way = found.cast<const Way&>();
        const std::uintptr_t address = address_of(x);
        const auto start = Clock::now();
        const Encoded encoded = encoded_at(address, way);
        py::list packets = packets_of(encoded, way);
        const auto sent = Clock::now();
        const std::vector<std::span<const std::uint8_t>> views(encoded.payloads.begin(), encoded.payloads.end());
        py::array values = way.array(way.samples());
        py::object y = decode_views(views, way, values);
        const auto arrived = Clock::now();
        const auto [total, most] = crushed_of(way.values_at(address), way.values_of(values), way);
        const auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
        std::size_t payload_bits = 0;
        std::size_t frame_bits = 0;
        for (const auto& payload : encoded.payloads) {
            payload_bits += 8 * payload.size();
            frame_bits += way.frame_bits(payload.size());
        }
        return py::make_tuple(packets, y, seconds(sent - start), seconds(arrived - sent), py::make_tuple(way.tokens(), total, most),
                              payload_bits, frame_bits);
    }

    // What packets of a known shape and type decode to; None where one must be looked at: it is no packet, carries a checksum,
    // or is not like the first or of another config.
    py::object decode(py::handle packets, const py::dict& buffers) const {
        if (!is_of(buffers) || !PyList_CheckExact(packets.ptr()) || PyList_GET_SIZE(packets.ptr()) == 0) return py::none();
        const Names& name = names();
        const auto count = static_cast<std::size_t>(PyList_GET_SIZE(packets.ptr()));
        py::object found = py::none();
        std::vector<py::object> payloads;
        payloads.reserve(count);
        for (const py::handle item : py::reinterpret_borrow<py::list>(packets)) {
            const auto packet = py::reinterpret_borrow<py::object>(item);
            if (Py_TYPE(packet.ptr()) != type_of(packet_)) return py::none();
            const py::object fields = taken(PyObject_GenericGetDict(packet.ptr(), nullptr));
            const auto field = [&](PyObject* key) { return py::reinterpret_borrow<py::object>(PyDict_GetItem(fields.ptr(), key)); };
            const py::object shape = field(name.shape);
            const py::object dtype = field(name.dtype);
            const py::object crc = field(name.config_crc);
            if (!shape || !dtype || !crc) return py::none();
            const bool first = payloads.empty();
            if (first) found = find(decoding_, shape, dtype);
            if (found.is_none()) return found;
            const auto& way = found.cast<const Way&>();
            const bool plain = way.is(name.kind, field(name.kind)) && way.is(name.checksum, field(name.checksum)) &&
                               way.is(name.dtype, dtype) && way.equals(name.config_crc, crc) && (first || way.equals(name.shape, shape));
            if (!plain) return py::none();
            payloads.push_back(field(name.payload));
        }
        return decode_payloads(payloads, found.cast<const Way&>());
    }

    // The tensor that the payloads of packets decode to.
    py::object decode_payloads(const std::vector<py::object>& payloads, const Way& way) const {
        std::vector<Array<std::uint8_t>> arrays;
        arrays.reserve(payloads.size());
        for (const py::object& payload : payloads) {  // a cast of what is an array already takes as long as decoding it
            const bool is_array = payload && Array<std::uint8_t>::check_(payload);
            arrays.push_back(is_array ? py::reinterpret_borrow<Array<std::uint8_t>>(payload) : Array<std::uint8_t>::ensure(payload));
            if (!arrays.back() || arrays.back().ndim() != 1) throw py::type_error("payloads are 1-D arrays of uint8");
        }
        const SteadyBytes steady(arrays);
        py::array x = way.array(payloads.size());
        return decode_views(steady.views(), way, x);
    }

private:
    static PyTypeObject* type_of(const py::type& type) { return reinterpret_cast<PyTypeObject*>(type.ptr()); }

    // The way of a tensor; None where it has none, or does not lie as the core reads it.
    py::object find_way(py::handle x, const py::dict& buffers) const {
        if (!is_of(buffers) || Py_TYPE(x.ptr()) != type_of(tensor_)) return py::none();
        const Names& name = names();
        const py::object found = find(encoding_, taken(PyObject_GetAttr(x.ptr(), name.shape)), taken(PyObject_GetAttr(x.ptr(), name.dtype)));
        const bool lies_right = !found.is_none() && found.cast<const Way&>().in_place() &&
                                taken(PyObject_CallMethodNoArgs(x.ptr(), name.is_contiguous)).ptr() == Py_True &&
                                taken(PyObject_GetAttr(x.ptr(), name.is_cpu)).ptr() == Py_True &&
                                taken(PyObject_CallMethodNoArgs(x.ptr(), name.is_neg)).ptr() == Py_False;
        return lies_right ? found : py::none();
    }

    static std::uintptr_t address_of(py::handle x) { return taken(PyObject_CallMethodNoArgs(x.ptr(), names().data_ptr)).cast<std::uintptr_t>(); }

    Encoded encoded_at(std::uintptr_t address, const Way& way) const {
        Encoded encoded;
        {
            const FloatSpan values = way.values_at(address);
            const GilReleaseUnlessBrief release(values.count);
            encoded = feature_encode(coder_, values, way.samples(), way.shape());
        }
        if (encoded.not_finite != kNoSample) {
            raise("FeatureError", "sample " + std::to_string(encoded.not_finite) + " holds a value that is not finite");
        }
        return encoded;
    }

    py::list packets_of(const Encoded& encoded, const Way& way) const {
        py::list packets(encoded.payloads.size());
        for (std::size_t i = 0; i < encoded.payloads.size(); ++i) {
            PyList_SET_ITEM(packets.ptr(), static_cast<Py_ssize_t>(i), way.packet(type_of(packet_), encoded.payloads[i]).release().ptr());
        }
        return packets;
    }

    // Decodes into an array of the way's and returns it as a tensor.
    py::object decode_views(std::span<const std::span<const std::uint8_t>> views, const Way& way, py::array& x) const {
        const MutableFloatSpan to = way.values_of(x);
        Status status{};
        {
            const GilReleaseUnlessBrief release(to.count);
            status = feature_decode(coder_, views, way.shape(), to);
        }
        check(status, views.empty() ? 0 : views.front().size());
        py::object tensor = taken(PyObject_CallOneArg(from_numpy_.ptr(), x.ptr()));
        return way.is_half() ? taken(PyObject_CallMethodOneArg(tensor.ptr(), names().view, way.dtype())) : tensor;
    }

    // Crushed tokens of float32 values: of all samples, and of the one that has the most.
    static std::pair<std::size_t, std::size_t> crushed_of(const FloatSpan& before, const MutableFloatSpan& after, const Way& way) {
        const GilReleaseUnlessBrief release(before.count);
        const std::size_t size = before.count / way.samples();
        std::size_t total = 0;
        std::size_t most = 0;
        for (std::size_t i = 0; i < way.samples(); ++i) {
            const std::span<const float> x(static_cast<const float*>(before.data) + i * size, size);
            const std::span<const float> y(static_cast<const float*>(after.data) + i * size, size);
            const std::size_t crushed = crushed_tokens(x, y, size / way.tokens());
            total += crushed;
            most = std::max(most, crushed);
        }
        return {total, most};
    }

    // The way, held: another thread may drop it meanwhile. None where there is none.
    static py::object find(const py::dict& ways, const py::object& shape, const py::object& dtype) {
        const py::object key = taken(PyTuple_Pack(2, shape.ptr(), dtype.ptr()));
        PyObject* const found = PyDict_GetItemWithError(ways.ptr(), key.ptr());
        if (found == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
        return found == nullptr ? py::none() : py::reinterpret_borrow<py::object>(found);
    }

    py::object owner_;
    const FeatureCoder& coder_;
    py::type tensor_;
    py::object from_numpy_;
    py::type packet_;
    py::object sizes_;
    long version_;
    py::dict encoding_;
    py::dict decoding_;
};

}  // namespace

void bind_packets(py::module_& m) {
    py::class_<Way>(m, "Way").def(py::init<py::dict, py::object, unsigned, std::size_t, std::size_t, std::size_t, std::size_t, bool>(), py::arg("fields"),
                                  py::arg("dtype"), py::arg("type"), py::arg("samples"), py::arg("maps"), py::arg("height"), py::arg("width"), py::arg("in_place"));
    py::class_<PacketCoder>(m, "PacketCoder")
        .def(py::init<py::object, py::type, py::object, py::type, py::object, long>(), py::arg("coder"), py::arg("tensor"), py::arg("from_numpy"),
             py::arg("packet"), py::arg("sizes"), py::arg("version"))
        .def_property_readonly("encoding", &PacketCoder::encoding)
        .def_property_readonly("decoding", &PacketCoder::decoding)
        .def("is_of", &PacketCoder::is_of, py::arg("buffers"))
        .def("encode", &PacketCoder::encode, py::arg("x"), py::arg("buffers"))
        .def("cross", &PacketCoder::cross, py::arg("x"), py::arg("buffers"))
        .def("encode_at", &PacketCoder::encode_at, py::arg("address"), py::arg("way"))
        .def("decode", &PacketCoder::decode, py::arg("packets"), py::arg("buffers"))
        .def("decode_payloads", &PacketCoder::decode_payloads, py::arg("payloads"), py::arg("way"));
}

}  // namespace featcodec::python
