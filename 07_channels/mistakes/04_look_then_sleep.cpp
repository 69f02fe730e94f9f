// A sender publishes, then looks whether somebody sleeps. A receiver has to say "I sleep" first and look for a message
// after that: then one of the two sees the other. The other way round a message that comes in between wakes nobody.
// (The lesson's header has to keep the processor from swapping the two as well; here seq_cst does that, at a price.)
#include <pybind11/pybind11.h>

#include <atomic>
#include <chrono>
#include <semaphore>
#include <thread>

namespace py = pybind11;

struct one_message {
    std::atomic<int> message{0};
    std::atomic<bool> sleeping{false};
    std::binary_semaphore bell{0};

    void send(int value) {
        message = value;
        if (sleeping.exchange(false)) bell.release();
    }
    int look_then_sleep() {
        for (;;) {
            if (int value = message; value != 0) return value;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the message comes here
            sleeping = true;
            bell.acquire();
        }
    }
    int say_then_look() {
        for (;;) {
            sleeping = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            if (int value = message; value != 0) {
                if (!sleeping.exchange(false)) bell.acquire();  // it has been rung for us: take that along
                return value;
            }
            bell.acquire();
        }
    }
};

int receive(int (one_message::*how)()) {
    py::gil_scoped_release free;
    one_message channel;
    std::jthread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        channel.send(42);
    });
    return (channel.*how)();
}

PYBIND11_MODULE(look_then_sleep, m) {
    m.def("wrong", [] { return receive(&one_message::look_then_sleep); });
    m.def("right", [] { return receive(&one_message::say_then_look); });
}
