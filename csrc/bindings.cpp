// The binding files alone know Python: NumPy arrays in, NumPy arrays out, the GIL released around every call of the core but brief
// ones of bindings_packets.cpp.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "cpu.hpp"
#include "crushed.hpp"
#include "default_floats.hpp"
#include "feature.hpp"
#include "featcodec.hpp"
#include "kernels.hpp"
#include "scratch.hpp"

namespace py = pybind11;
namespace fc = featcodec;

namespace {

using fc::python::Array;
using fc::python::check;
using fc::python::make;
using fc::python::out_view;
using fc::python::raise;

template <typename T>
std::span<const T> view(const Array<T>& array) {
    if (array.ndim() != 1) throw py::value_error("expected a 1-D array, got " + std::to_string(array.ndim()) + "-D");
    return {array.data(), static_cast<std::size_t>(array.size())};
}

std::string shown(const py::array& array) {
    std::string text = "(";
    for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
    return text + ")";
}

// `array` cut to its first `size` items; the copy is what lets the rest be freed.
template <typename T>
Array<T> head(const Array<T>& array, std::size_t size) {
    return Array<T>(static_cast<py::ssize_t>(size), array.data());
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

std::size_t crushed_tokens(const Array<float>& x, const Array<float>& y) {
    if (x.ndim() != 2 || y.ndim() != 2 || x.shape(0) != y.shape(0) || x.shape(1) != y.shape(1)) {
        throw py::value_error("expected two 2-D arrays of one shape (tokens, values), got " + shown(x) + " and " + shown(y));
    }
    const auto size = static_cast<std::size_t>(x.size());
    const std::span<const float> before(x.data(), size);
    const std::span<const float> after(y.data(), size);
    const fc::python::GilReleaseUnlessBrief release(size);
    return fc::crushed_tokens(before, after, static_cast<std::size_t>(x.shape(1)));
}

// ---- features ------------------------------------------------------------------------------------------------------------

fc::Family family_of(const std::string& name) {
    const char* const names[] = {"packed", "huffman", "rans", "context", "auto"};
    const auto* const found = std::find(std::begin(names), std::end(names), name);
    if (found == std::end(names)) throw py::value_error("no family " + name);
    return static_cast<fc::Family>(found - std::begin(names));
}

template <typename T, std::size_t N>
void copy_in(const Array<T>& from, T (&to)[N], const char* what) {
    if (from.ndim() != 1 || from.size() != static_cast<py::ssize_t>(N)) throw py::value_error(std::string(what) + " has a wrong size");
    std::copy_n(from.data(), N, to);
}

template <typename T, std::size_t N>
Array<T> copy_out(const T* from) {
    return Array<T>(static_cast<py::ssize_t>(N), from);
}

constexpr std::size_t kOrder0TableBytes = 640;  // of a static codec's buffer
constexpr std::size_t kContextCounts = fc::kRawContexts * fc::kTokens;  // of each neighbourhood

// What a codec holds: its parameters and, where its tables are static, the model made of them.
class FeatureCoder {
public:
    FeatureCoder(const std::string& family, unsigned bits, bool per_map, double step, bool zigzag, bool zero_level) {
        coder_.family = family_of(family);
        coder_.bits = bits;
        coder_.per_map = per_map;
        coder_.step = static_cast<float>(step);
        coder_.zigzag = zigzag;
        coder_.zero_level = zero_level;
        if (bits < 1 || bits > fc::kMaxSymbolBits) throw py::value_error("bits must be 1..16");
        if (zero_level && bits < 2) throw py::value_error("a level for zero needs at least 2 bits");
        if (!(step >= 0.0) || step > 3.0e38) throw py::value_error("step must be finite and not negative");
    }

    const fc::FeatureCoder& core() const { return coder_; }
    unsigned static_bits() const { return fc::static_bits(coder_); }

    // The order-0 table of this family from counts of calibration, as the stream would send it.
    Array<std::uint8_t> train_order0(const Array<std::uint32_t>& coded, const Array<std::uint32_t>& symbols) const {
        fc::ByteCounts counts;
        copy_in(coder_.family == fc::Family::rans ? symbols : coded, counts, "counts");
        const fc::Order0Kernels& kernels = fc::current_kernels().order0;
        std::array<std::uint8_t, kOrder0TableBytes> table;
        std::size_t size = 0;
        if (coder_.family == fc::Family::rans) {
            size = fc::curve8_train_static(counts, static_bits(), table);
        } else {
            const auto fixed = std::make_unique<fc::HuffmanStatic>();
            fc::huffman8_build_static(kernels, counts, static_bits(), *fixed);
            size = fc::huffman8_write_table(fixed->code, static_bits(), table);
        }
        return Array<std::uint8_t>(static_cast<py::ssize_t>(size), table.data());
    }

    void set_order0_table(const Array<std::uint8_t>& table) {
        fc::StaticModel& model = own_model();
        const fc::Order0Kernels& kernels = fc::current_kernels().order0;
        fc::Status status{};
        if (coder_.family == fc::Family::rans) {
            model.rans = std::make_unique<fc::RansStatic>();
            status = fc::curve8_load_static(kernels, view(table), model.bits, *model.rans);
        } else {
            model.huffman = std::make_unique<fc::HuffmanStatic>();
            status = fc::huffman8_load_static(kernels, view(table), model.bits, *model.huffman);
        }
        if (status != fc::Status::ok) {
            model.rans.reset();
            model.huffman.reset();
            throw py::value_error("the order-0 table is not one that training makes");
        }
    }

    void set_context_tables(const Array<std::uint8_t>& table_of, const Array<std::uint16_t>& frequencies, unsigned tables, unsigned layout) {
        fc::ContextTables given;
        const unsigned tokens = layout & 0xFF;
        if (table_of.size() != static_cast<py::ssize_t>(given.table_of.size()) ||
            frequencies.size() != static_cast<py::ssize_t>(given.frequencies.size()) || tables > fc::kContextTables || tokens > fc::kTokens) {
            throw py::value_error("context tables have a wrong size");
        }
        std::copy_n(table_of.data(), given.table_of.size(), given.table_of.begin());
        std::copy_n(frequencies.data(), given.frequencies.size(), given.frequencies.begin());
        given.tables = static_cast<std::uint8_t>(tables);
        given.tokens = static_cast<std::uint8_t>(tokens);
        given.neighbourhood = (layout >> 8 & 1) != 0 ? fc::Neighbourhood::gradient : fc::Neighbourhood::near;
        fc::StaticModel& model = own_model();
        model.context_rate = layout >> 16;
        model.context = std::make_unique<fc::ContextModel>();
        if (fc::context_model(given, model.bits, true, *model.context) != fc::Status::ok) {
            model.context.reset();
            throw py::value_error("the context tables are not ones that training makes");
        }
    }

    // The symbol stream alone, of uint8 symbols (maps, height, width) below 2^bits, bits <= 8.
    Array<std::uint8_t> encode_symbols(const Array<std::uint8_t>& symbols) const {
        const fc::ContextShape shape = symbol_shape(symbols);
        if (coder_.bits > 8) throw py::value_error("symbols of more than 8 bits are coded from features only");
        const std::span<const std::uint8_t> in(symbols.data(), static_cast<std::size_t>(symbols.size()));
        const std::size_t bound = fc::coder_bound(shape, coder_.bits);
        thread_local fc::Buffer<std::uint8_t> buffer;
        const fc::TrimAtEnd trim;
        const std::span<std::uint8_t> stream(buffer.get(bound), bound);
        std::size_t size = 0;
        {
            const py::gil_scoped_release release;
            unsigned all = 0;
            for (const std::uint8_t symbol : in) all |= symbol;
            size = all >> coder_.bits == 0 ? fc::coder_encode({coder_.family, coder_.bits, coder_.model}, in, shape, stream) : 0;
        }
        if (size == 0) throw py::value_error("symbols must be below 2^bits");
        return Array<std::uint8_t>(static_cast<py::ssize_t>(size), stream.data());
    }

    Array<std::uint8_t> decode_symbols(const Array<std::uint8_t>& data, std::size_t maps, std::size_t height, std::size_t width) const {
        if (coder_.bits > 8) throw py::value_error("symbols of more than 8 bits are coded from features only");
        const fc::python::SteadyBytes steady({&data, 1});
        const auto in = steady.views()[0];
        Array<std::uint8_t> symbols({maps, height, width});
        const std::span<std::uint8_t> to(symbols.mutable_data(), static_cast<std::size_t>(symbols.size()));
        fc::Status status{};
        {
            const fc::TrimAtEnd trim;
            const py::gil_scoped_release release;
            status = fc::coder_decode({coder_.family, coder_.bits, coder_.model}, in, {maps, height, width}, to);
        }
        check(status, in.size());
        return symbols;
    }

    // Of one payload of a feature (maps, height, width): the bits before its symbol stream, and those of the table that this sends.
    py::tuple parts(const Array<std::uint8_t>& payload, std::size_t maps, std::size_t height, std::size_t width) const {
        const auto in = view(payload);
        fc::FeatureParts parts;
        check(fc::feature_parts(coder_, in, {maps, height, width}, parts), in.size());
        return py::make_tuple(parts.side_bits, parts.table_bits);
    }

    // (coded bytes, symbols, contexts): the statistics of a batch.
    py::tuple count(const Array<float>& x) const {
        const fc::ContextShape shape = shape_of(x);
        const auto counts = std::make_unique<fc::FeatureCounts>();
        const fc::FloatSpan values{x.data(), static_cast<std::size_t>(x.size()), fc::FloatType::float32};
        if (!fc::feature_count(coder_, values, static_cast<std::size_t>(x.shape(0)), shape, *counts)) {
            raise("FeatureError", "a value is not finite");
        }
        return told(*counts);
    }

    // The same of symbols (maps, height, width), as encode_symbols takes them.
    py::tuple count_symbols(const Array<std::uint8_t>& symbols) const {
        const fc::ContextShape shape = symbol_shape(symbols);
        const std::span<const std::uint8_t> in(symbols.data(), static_cast<std::size_t>(symbols.size()));
        if (coder_.bits > 8 || std::any_of(in.begin(), in.end(), [&](std::uint8_t s) { return s >> coder_.bits != 0; })) {
            throw py::value_error("symbols must be below 2^bits, bits at most 8");
        }
        const auto counts = std::make_unique<fc::FeatureCounts>();
        fc::feature_count_symbols(coder_.bits, in, shape, *counts);
        return told(*counts);
    }

    // (table_of, frequencies, tables, layout) for set_context_tables, from context counts of either neighbourhood. layout: tokens in
    // use, + 2^8 for the gradient, + 2^16 * 16 * the bits of a token.
    py::tuple train_context(const Array<std::uint32_t>& counts) const {
        if (counts.size() != static_cast<py::ssize_t>(2 * kContextCounts)) throw py::value_error("context counts have a wrong size");
        const auto near = std::make_unique<fc::ContextCounts>();
        const auto gradient = std::make_unique<fc::ContextCounts>();
        std::copy_n(counts.data(), kContextCounts, near->begin());
        std::copy_n(counts.data() + kContextCounts, kContextCounts, gradient->begin());
        const fc::Neighbourhood chosen = fc::context_choose(*near, *gradient, static_bits());
        const fc::ContextCounts& own = chosen == fc::Neighbourhood::gradient ? *gradient : *near;
        const fc::ContextTables tables = fc::context_train(own, static_bits(), chosen);
        const unsigned layout = tables.tokens | static_cast<unsigned>(chosen) << 8 | fc::context_rate(own, tables) << 16;
        return py::make_tuple(copy_out<std::uint8_t, fc::kRawContexts>(tables.table_of.data()),
                              copy_out<std::uint16_t, fc::kContextTables * fc::kTokens>(tables.frequencies.data()), unsigned{tables.tables},
                              layout);
    }

private:
    static fc::ContextShape shape_of(const Array<float>& x) {
        if (x.ndim() != 4 || x.size() == 0) throw py::value_error("expected a 4-D array (samples, maps, height, width) that is not empty");
        return {static_cast<std::size_t>(x.shape(1)), static_cast<std::size_t>(x.shape(2)), static_cast<std::size_t>(x.shape(3))};
    }

    static py::tuple told(const fc::FeatureCounts& counts) {
        Array<std::uint32_t> contexts(static_cast<py::ssize_t>(2 * kContextCounts));
        std::copy(counts.near.begin(), counts.near.end(), contexts.mutable_data());
        std::copy(counts.gradient.begin(), counts.gradient.end(), contexts.mutable_data() + kContextCounts);
        return py::make_tuple(copy_out<std::uint32_t, 256>(counts.coded), copy_out<std::uint32_t, 256>(counts.symbols), contexts);
    }

    static fc::ContextShape symbol_shape(const Array<std::uint8_t>& symbols) {
        if (symbols.ndim() != 3 || symbols.size() == 0) throw py::value_error("expected a 3-D array (maps, height, width) that is not empty");
        return {static_cast<std::size_t>(symbols.shape(0)), static_cast<std::size_t>(symbols.shape(1)), static_cast<std::size_t>(symbols.shape(2))};
    }

    fc::StaticModel& own_model() {
        if (!model_) model_ = std::make_unique<fc::StaticModel>();
        model_->bits = static_bits();
        coder_.model = model_.get();
        return *model_;
    }

    fc::FeatureCoder coder_;
    std::unique_ptr<fc::StaticModel> model_;
};

// with DefaultFloats(): what runs in it, NumPy's arithmetic too, in this thread.
struct FloatScope {
    std::optional<fc::DefaultFloats> floats;
};

// What this machine runs, scalar first.
std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (const fc::Isa isa : fc::kAllIsas) {
        if (fc::isa_supported(isa)) names.emplace_back(fc::isa_name(isa));
    }
    return names;
}

void set_isa(const std::string& name) {
    fc::Isa isa{};
    if (!fc::parse_isa(name, isa)) throw py::value_error("no instruction set " + name + "; known: scalar, avx2, avx512, avx512vbmi, neon");
    if (!fc::set_isa(isa)) throw py::value_error("this machine cannot run " + name + "; its best is " + fc::isa_name(fc::best_isa()));
}

}  // namespace

void fc::python::raise(const char* error_class, const std::string& message) {
    const py::object error = py::module_::import("featcodec.errors").attr(error_class);
    PyErr_SetString(error.ptr(), message.c_str());
    throw py::error_already_set();
}

void fc::python::check(Status status, std::size_t size_bytes) {
    if (status == Status::ok) return;
    raise("BitstreamError", std::string(describe(status)) + " (" + std::to_string(size_bytes) + " bytes given)");
}

const fc::FeatureCoder& fc::python::core_of(py::handle feature_coder) { return feature_coder.cast<const ::FeatureCoder&>().core(); }

PYBIND11_MODULE(_core, m) {
    m.doc() = "featcodec's C++ core: checksums, quantisers, entropy coders, LDPC";
    fc::python::bind_ldpc(m);
    fc::python::bind_packets(m);
    fc::python::bind_prior(m);
    fc::python::bind_threads(m);
    fc::python::bind_transform(m);
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
    m.def("crushed_tokens", &crushed_tokens, py::arg("x").noconvert(), py::arg("y").noconvert());
    m.def("isa_problem", []() -> py::object {
        const char* problem = fc::isa_problem();
        return problem != nullptr ? py::object(py::str(problem)) : py::none();
    });
    m.def("set_isa", &set_isa, py::arg("name"));
    m.def("isas", &isas);
    m.def("isa", [] { return std::string(fc::isa_name(fc::current_isa())); });
    m.def("is_amd", &fc::is_amd);
    m.def("set_amd", &fc::set_amd, py::arg("amd"));
    m.def("best_isa", [] { return std::string(fc::isa_name(fc::best_isa())); });
    py::class_<FloatScope>(m, "DefaultFloats")
        .def(py::init<>())
        .def("__enter__", [](FloatScope& scope) { scope.floats.emplace(); })
        .def("__exit__", [](FloatScope& scope, const py::args&) { scope.floats.reset(); });
    py::class_<FeatureCoder>(m, "FeatureCoder")
        .def(py::init<const std::string&, unsigned, bool, double, bool, bool>(), py::arg("family"), py::arg("bits"), py::arg("per_map") = false,
             py::arg("step") = 0.0, py::arg("zigzag") = false, py::arg("zero_level") = false)
        .def("encode_symbols", &FeatureCoder::encode_symbols, py::arg("symbols").noconvert())
        .def("decode_symbols", &FeatureCoder::decode_symbols, py::arg("data").noconvert(), py::arg("maps"), py::arg("height"), py::arg("width"))
        .def("parts", &FeatureCoder::parts, py::arg("payload").noconvert(), py::arg("maps"), py::arg("height"), py::arg("width"))
        .def_property_readonly("static_bits", &FeatureCoder::static_bits)
        .def("train_order0", &FeatureCoder::train_order0, py::arg("coded").noconvert(), py::arg("symbols").noconvert())
        .def("set_order0_table", &FeatureCoder::set_order0_table, py::arg("table").noconvert())
        .def("set_context_tables", &FeatureCoder::set_context_tables, py::arg("table_of").noconvert(), py::arg("frequencies").noconvert(),
             py::arg("tables"), py::arg("layout"))
        .def("count", &FeatureCoder::count, py::arg("x").noconvert())
        .def("count_symbols", &FeatureCoder::count_symbols, py::arg("symbols").noconvert())
        .def("train_context", &FeatureCoder::train_context, py::arg("counts").noconvert());
}
