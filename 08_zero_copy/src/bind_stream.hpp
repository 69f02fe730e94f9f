// bind_stream.hpp: Stream, arrays that come one after the other: Arrow's __arrow_c_stream__, read and written.
//
// A foreign stream's get_next may not be called by two threads at once, and may itself want the GIL. So it is called under
// a lock of its own and without the GIL; never the other way round. Who consumes our stream may call from C with the GIL held.
#pragma once

#include <memory>
#include <mutex>
#include <variant>

#include "bind_view.hpp"

namespace bind {

/// What chunks come from: a foreign stream, or arrays that are there already.
class chunk_source {
public:
    explicit chunk_source(ArrowArrayStream* from) {
        ArrowSchema schema{};
        if (const int code = from->get_schema(from, &schema); code != 0) {
            const char* const why = from->get_last_error(from);
            throw std::runtime_error(join("source gave no schema: ", why != nullptr ? why : "error " + std::to_string(code)));
        }
        const zc::arrow_owned<ArrowSchema> held(&schema);
        is_double_ = arrow_is_double(*held.get(), {"source"});
        if (is_double_) reader_.emplace<zc::stream_reader<double>>(from);
        else reader_.emplace<zc::stream_reader<float>>(from);
    }
    explicit chunk_source(std::vector<tensor> chunks)
        : is_double_(chunks.empty() || chunks[0].is_double), chunks_(std::move(chunks)) {}

    bool is_double() const { return is_double_; }

    /// The next chunk as an Arrow array; false at the end. Needs no GIL.
    bool next(zc::arrow_owned<ArrowArray>& array) {
        const std::lock_guard lock(mutex_);
        if (auto* const doubles = std::get_if<zc::stream_reader<double>>(&reader_)) return doubles->next(array);
        if (auto* const floats = std::get_if<zc::stream_reader<float>>(&reader_)) return floats->next(array);
        if (at_ == chunks_.size()) return false;
        ArrowSchema schema{};
        ArrowArray made{};
        export_arrow(chunks_[at_], &schema, &made);
        const zc::arrow_owned<ArrowSchema> unused(&schema);
        array = zc::arrow_owned<ArrowArray>(&made);
        ++at_;
        return true;
    }

private:
    std::mutex mutex_;  // guards what follows
    bool is_double_ = true;
    std::variant<std::monostate, zc::stream_reader<double>, zc::stream_reader<float>> reader_;
    std::vector<tensor> chunks_;
    std::size_t at_ = 0;
};

class stream {
public:
    explicit stream(const py::object& source) {
        if (!has(source, "__arrow_c_stream__")) {
            source_ = own(new chunk_source(chunks_of(source)));
            return;
        }
        const py::object capsule = source.attr("__arrow_c_stream__")();
        auto* const from = arrow_pointer<ArrowArrayStream>(capsule, "arrow_array_stream");
        if (from->release == nullptr) throw py::value_error("source has given its stream away already");
        source_ = own(new chunk_source(from));
    }

    view next() const {
        zc::arrow_owned<ArrowArray> array;
        if (!released([&](auto) { return source_->next(array); })) throw py::stop_iteration();
        ArrowSchema schema{};  // of the chunk: a bare number type
        schema.format = source_->is_double() ? zc::arrow_format<double>() : zc::arrow_format<float>();
        schema.release = [](ArrowSchema* done) { done->release = nullptr; };
        return view(from_arrow_array(schema, std::move(array), {"chunk"}));
    }

    py::capsule capsule() const {
        auto made = std::make_unique<ArrowArrayStream>();
        const auto next = [source = source_](ArrowArray* out) {
            const without_gil free;
            zc::arrow_owned<ArrowArray> array;
            if (!source->next(array)) return false;
            array.release_to(out);
            return true;
        };
        if (source_->is_double()) zc::export_stream<double>(next, made.get());
        else zc::export_stream<float>(next, made.get());
        return arrow_capsule(std::move(made), "arrow_array_stream");
    }

private:
    /// Freed with the GIL: a chunk may be a Python object's memory, and so may what the stream holds.
    static std::shared_ptr<chunk_source> own(chunk_source* made) {
        return std::static_pointer_cast<chunk_source>(keep(made, [](chunk_source* last) { delete last; }));
    }
    static std::vector<tensor> chunks_of(const py::object& source) {
        std::vector<tensor> chunks;
        if (is_array(source) || PyUnicode_Check(source.ptr()))
            throw py::type_error(
                join("source must be a stream (__arrow_c_stream__) or a sequence of arrays, not ", type_of(source)));
        for (const py::handle each : py::iter(source)) {
            const std::string name = join("source[", chunks.size(), "]");
            chunks.push_back(look_at(each, {name.c_str()}));
            const tensor& chunk = chunks.back();
            same_type(chunks.front(), "source[0]", chunk, name.c_str());
            if (chunk.shape.size() != 1 || !chunk.dense())
                throw py::value_error(join(name, " must be 1-D and contiguous; use numpy.ascontiguousarray"));
        }
        return chunks;
    }

    std::shared_ptr<chunk_source> source_;
};

}  // namespace bind

template <>
class pybind11::detail::type_caster<bind::stream> : public tenfold::boundary::made_caster<bind::stream> {};

namespace bind {

inline void bind_stream(py::module_& m) {
    py::class_<stream>(m, "Stream", py::module_local(), R"(
Arrays that come one after the other, none of them copied.

Iterating gives each as a :class:`View`; whoever speaks Arrow can take the rest through ``__arrow_c_stream__``. Threads may
share a stream: each array goes to one of them.

Parameters
----------
source : object
    A stream of float32 or float64 (a pyarrow.ChunkedArray, a column of polars or DuckDB), or a sequence of 1-D arrays.

Examples
--------
>>> import array, zero_copy
>>> chunks = zero_copy.Stream([array.array("d", [1.0, 2.0]), array.array("d", [3.0])])
>>> [zero_copy.sum_nocopy(chunk) for chunk in chunks]
[3.0, 3.0]
)")
        .def(py::init<const py::object&>(), "source"_a)
        .def("__iter__", [](stream& self) -> stream& { return self; })
        .def("__next__", &stream::next)
        .def(
            "__arrow_c_stream__", [](const stream& self, const py::object&) { return self.capsule(); },
            "requested_schema"_a = py::none(), R"(
What is left, as an Arrow stream. It is consumed once, together with this object's own iteration.

Returns
-------
capsule
    "arrow_array_stream".
)");
}

}  // namespace bind
