// Exercise 3. A bounded queue of ints that can wait, but has no end: whoever waits when the last message is through waits
// for ever. Write close(), and change send() and receive() so that
//   - after close() send() takes nothing more and returns false, also if it was waiting for room;
//   - receive() still hands out what is there, and returns nothing once the queue is closed and empty;
//   - closing wakes everybody who waits.
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
        room_.wait(lock, [&] { return items_.size() < capacity_; });
        items_.push_back(value);
        something_.notify_one();
        return true;
    }
    std::optional<int> receive() {
        std::unique_lock lock(mutex_);
        something_.wait(lock, [&] { return !items_.empty(); });
        const int value = items_.front();
        items_.pop_front();
        room_.notify_one();
        return value;
    }
    void close() {}

private:
    const std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_, something_;
    std::deque<int> items_;
};

PYBIND11_MODULE(close_and_drain, m) {
    py::class_<closing_queue>(m, "Queue")
        .def(py::init<std::size_t>())
        .def("send", &closing_queue::send, py::call_guard<py::gil_scoped_release>())
        .def("receive", &closing_queue::receive, py::call_guard<py::gil_scoped_release>())
        .def("close", &closing_queue::close, py::call_guard<py::gil_scoped_release>());
}
