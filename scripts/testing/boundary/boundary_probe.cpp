// boundary_probe: every caster of boundary.hpp behind the thinnest possible function, for test_boundary.py and
// bench_boundary.py. Not part of any lesson. The lessons' copies of boundary.hpp are the same: any src/ folder will do as -I.
#include "boundary.hpp"

#include <pybind11/stl.h>

#include <atomic>
#include <cstring>

namespace py = pybind11;
using namespace tenfold::boundary;

namespace {

/// Spins without the GIL until `stop` says so; the flag lets a test see that it is inside.
std::atomic<int> inside{0};

void spin(const auto& stop, double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    inside.fetch_add(1);
    while (std::chrono::steady_clock::now() < end) {
        if (stop()) {
            inside.fetch_sub(1);
            throw tenfold::stopped{};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    inside.fetch_sub(1);
}

template <class T, class M>
void bind_numbers(M& m, const std::string& suffix) {
    m.def(("round_trip_" + suffix).c_str(), [](list_of<T, "numbers"> numbers) { return to_list(numbers.read()); },
          py::arg("numbers"));
    m.def(("round_trip_" + suffix).c_str(),
          [](array_of<T, "numbers"> numbers, out_of<T, "out"> out) {
              auto [array, values] = out.or_new(numbers.size());
              const auto from = numbers.span();
              if (overlaps(values, from) && !same_memory(values, from)) throw py::value_error("out overlaps numbers");
              released([&, values = values](auto) { std::ranges::copy(from, values.begin()); });
              return array;
          },
          py::arg("numbers"), py::kw_only(), py::arg("out") = py::none());
    m.def(("rows_" + suffix).c_str(),
          [](rows_of<T, "rows"> rows) {
              const auto read = rows.read();
              py::list out;
              for (std::size_t i = 0; i < read.size(); ++i) out.append(to_list(read[i]));
              return out;
          },
          py::arg("rows"));
    m.def(("matrix_" + suffix).c_str(),
          [](rows_of<T, "matrix"> matrix) {
              const auto read = matrix.matrix();
              return py::make_tuple(to_lists(read.span(), read.rows, read.cols), read.rows, read.cols);
          },
          py::arg("matrix"));
    m.def(("matrix_" + suffix).c_str(),
          [](matrix_of<T, "matrix"> matrix, out_matrix_of<T, "out"> out) {
              auto [array, values] = out.or_new(matrix.rows(), matrix.cols());
              std::ranges::copy(matrix.span(), values.begin());
              return py::make_tuple(array, matrix.rows(), matrix.cols());
          },
          py::arg("matrix"), py::kw_only(), py::arg("out") = py::none());
    m.def(("address_" + suffix).c_str(),
          [](array_of<T, "numbers"> numbers) { return reinterpret_cast<std::uintptr_t>(numbers.span().data()); },
          py::arg("numbers"));
    m.def(("both_" + suffix).c_str(),
          [](list_of<T, "a"> a, list_of<T, "b", "a"> b) { return std::pair(a.read().size(), b.read().size()); }, py::arg("a"),
          py::arg("b"));
    m.def(("both_" + suffix).c_str(), [](array_of<T, "a"> a, array_of<T, "b", "a"> b) { return std::pair(a.size(), b.size()); },
          py::arg("a"), py::arg("b"));
}

/// Classes for made_caster: one from which others derive, one by itself. A `made` counts what was constructed.
struct made {
    explicit made(std::int64_t from) : value(from) { ++alive; }
    made(const made& other) : value(other.value) { ++alive; }
    made& operator=(const made&) = default;
    ~made() { --alive; }
    std::int64_t value;
    static inline std::atomic<std::int64_t> alive{0};
};
struct derived : made {
    using made::made;
};
struct apart {
    std::int64_t value = 11;
};

}  // namespace

template <>
class pybind11::detail::type_caster<made> : public made_caster<made> {};
template <>
class pybind11::detail::type_caster<derived> : public made_caster<derived> {};
template <>
class pybind11::detail::type_caster<apart> : public made_caster<apart> {};

namespace {

void bind_classes(py::module_& m) {
    py::class_<made>(m, "Made", py::module_local(), py::buffer_protocol())
        .def(py::init<std::int64_t>(), py::arg("value"))
        .def_readwrite("value", &made::value)
        .def("get", [](const made& self) { return self.value; })
        .def(
            "plus", [](const made& self, const made& other) { return made(self.value + other.value); }, py::arg("other"))
        .def("__enter__", [](made& self) -> made& { return self; })
        .def("__repr__", [](const made& self) { return "Made(" + std::to_string(self.value) + ")"; })
        .def_buffer([](made& self) { return py::buffer_info(&self.value, 1); })
        .def(py::pickle([](const made& self) { return self.value; }, [](std::int64_t value) { return made(value); }));
    py::class_<derived, made>(m, "Derived", py::module_local()).def(py::init<std::int64_t>()).def("own", [](derived& self) {
        return self.value;
    });
    py::class_<apart>(m, "Apart", py::module_local()).def(py::init<>()).def("eleven", [](const apart& self) {
        return self.value;
    });
    py::implicitly_convertible<py::int_, made>();
    static made kept(7);  // C++ owns it, so its Python object has no holder
    m.def("made_kept", []() -> made& { return kept; }, py::return_value_policy::reference);
    m.def("made_alive", [] { return made::alive.load(); });
    m.def("made_pointer", [](const made* one) { return one->value; }, py::arg("one"));
    m.def("made_values", [](const std::vector<made>& all) {
        std::int64_t sum = 0;
        for (const made& each : all) sum += each.value;
        return sum;
    });
    m.def("made_or_text", [](const made&) { return "made"; });
    m.def("made_or_text", [](const std::string&) { return "text"; });
}

}  // namespace

PYBIND11_MODULE(boundary_probe, m, py::mod_gil_not_used(), py::multiple_interpreters::per_interpreter_gil()) {
    m.doc() = "Every caster of boundary.hpp, for its tests and benchmark.";
    bind_numbers<double>(m, "float64");
    bind_numbers<std::int64_t>(m, "int64");
    m.def(
        "chunked",
        [](list_of<double, "numbers"> numbers, count<"chunk_size"> chunk_size, threads num_threads) {
            return py::make_tuple(numbers.read().size(), chunk_size.value, num_threads.value);
        },
        py::arg("numbers"), py::arg("chunk_size"), py::kw_only(), py::arg("num_threads") = py::none());
    m.def(
        "chunked",
        [](const array_of<double, "numbers">& numbers, count<"chunk_size"> chunk_size, threads num_threads) {
            return py::make_tuple(numbers.span().size(), chunk_size.value, num_threads.value);
        },
        py::arg("numbers"), py::arg("chunk_size"), py::kw_only(), py::arg("num_threads") = py::none());
    m.def("count", [](count<"value", 1000> value) { return value.value; }, py::arg("value"));
    m.def("amount", [](amount<"value"> value) { return value.value; }, py::arg("value"));
    m.def("whole", [](whole<"value"> value) { return value.value; }, py::arg("value"));
    m.def("real", [](real<"value"> value) { return value.value; }, py::arg("value"));
    m.def("usable_cores", [] { return usable_cores(); });
    m.def(
        "texts",
        [](texts_of<"documents"> documents) {
            const auto read = documents.read();
            py::list out;
            for (const text& t : read.span())
                out.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(t.data), t.length, t.kind,
                                          py::reinterpret_steal<py::object>(
                                              PyUnicode_FromKindAndData(t.kind, t.data, static_cast<Py_ssize_t>(t.length)))));
            return out;
        },
        py::arg("documents"));
    bind_classes(m);
    m.def("strings", [] { return to_list(std::vector<std::string>{"a", "\xc3\xa9", ""}); });
    m.def(
        "uint32_out",
        [](std::size_t rows, std::size_t cols, out_matrix_of<std::uint32_t, "out"> out) {
            auto [array, values] = out.or_new(rows, cols);
            std::ranges::fill(values, 7u);
            return array;
        },
        py::arg("rows"), py::arg("cols"), py::kw_only(), py::arg("out") = py::none());

    m.def(
        "spin",
        [](double seconds) {
            const py::list dropped(3);  // which needs the GIL
            released([&](auto stop) { spin(stop, seconds); });
        },
        py::arg("seconds"));
    m.def(
        "spin_returning",
        [](double seconds) {
            return released([&](auto stop) {
                const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
                while (std::chrono::steady_clock::now() < end && !stop())
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                return 42;
            });
        },
        py::arg("seconds"));
    m.def("inside", [] { return inside.load(); });
    m.def("released_throw", [](const std::string& kind) {
        released([&](auto) {
            if (kind == "value") throw py::value_error("from inside");
            if (kind == "stopped") throw tenfold::stopped{};
            if (kind == "int") throw 7;
            if (kind == "bad_alloc") throw std::bad_alloc{};
            if (kind == "at exit") {
                ++inside;
                while (!finalizing()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                throw std::runtime_error("Python is leaving");
            }
        });
    });

    // For the benchmark.
    m.def("read_float64", [](list_of<double, "numbers"> numbers) { return numbers.read().size(); });
    m.def("read_int64", [](list_of<std::int64_t, "numbers"> numbers) { return numbers.read().size(); });
    m.def("caster_float64", [](const std::vector<double>& numbers) { return numbers.size(); });
    m.def("caster_int64", [](const std::vector<std::int64_t>& numbers) { return numbers.size(); });
    m.def("to_list_float64", [](array_of<double, "numbers"> numbers) { return to_list(numbers.span()); });
    m.def("create_floats", [](array_of<double, "numbers"> numbers) {  // the floor of every list result
        std::vector<py::object> kept;
        kept.reserve(numbers.size());
        for (const double value : numbers.span()) kept.push_back(py::reinterpret_steal<py::object>(PyFloat_FromDouble(value)));
        return kept.size();
    });
}
