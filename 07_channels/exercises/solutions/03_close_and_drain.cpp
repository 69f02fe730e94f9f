// Exercise 3, solved: "closed" is one more thing to wake up for. notify_all, not notify_one: everybody has to hear it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>

namespace py = pybind11;

class closing_queue {
public:
    explicit closing_queue(std::size_t capacity) : capacity_(capacity) {}

    bool send(int value) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
        if (closed_) return false;
        items_.push_back(value);
        something_.notify_one();
        return true;
    }
    std::optional<int> receive() {
        std::unique_lock lock(mutex_);
        something_.wait(lock, [&] { return closed_ || !items_.empty(); });
        if (items_.empty()) return std::nullopt;
        const int value = items_.front();
        items_.pop_front();
        room_.notify_one();
        return value;
    }
    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        room_.notify_all();
        something_.notify_all();
    }

private:
    const std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_, something_;
    std::deque<int> items_;
    bool closed_ = false;
};

PYBIND11_MODULE(close_and_drain, m) {
    py::class_<closing_queue>(m, "Queue")
        .def(py::init<std::size_t>())
        .def("send", &closing_queue::send, py::call_guard<py::gil_scoped_release>())
        .def("receive", &closing_queue::receive, py::call_guard<py::gil_scoped_release>())
        .def("close", &closing_queue::close, py::call_guard<py::gil_scoped_release>());
}
