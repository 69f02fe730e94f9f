// Exercise 3, solved: an odd number before the copy, or another one after it, means that the writer was there.
#include <pybind11/pybind11.h>

#include <array>
#include <atomic>
#include <thread>

namespace py = pybind11;

constexpr int words = 64;
using state = std::array<long, words>;

struct seqlock {
    std::atomic<unsigned> sequence{0};
    std::array<std::atomic<long>, words> data{};

    void write(long value) {
        sequence.store(sequence.load() + 1);
        for (auto& word : data) word.store(value);
        sequence.store(sequence.load() + 1);
    }

    state read() const {
        for (;;) {
            const unsigned before = sequence.load();
            state copy{};
            for (int i = 0; i < words; ++i) copy[i] = data[i].load();
            if (before % 2 == 0 && sequence.load() == before) return copy;
        }
    }
};

// ---- what the test looks at; nothing to do below

PYBIND11_MODULE(seqlock_reader, m) {
    m.def("last_written", [](long writes) {
        seqlock shared;
        for (long i = 1; i <= writes; ++i) shared.write(i);
        return shared.read().back();
    });
    // How many reads were torn, words of two states, while another thread wrote so many times.
    m.def("torn_reads", [](long writes) {
        py::gil_scoped_release free;
        seqlock shared;
        std::atomic<bool> done = false;
        std::jthread writer([&] {
            for (long i = 1; i <= writes; ++i) {
                shared.write(i);
                for (volatile int pause = 0; pause < 1000; pause = pause + 1) {
                }
            }
            done = true;
        });
        long torn = 0;
        while (!done) {
            const state copy = shared.read();
            for (const long word : copy)
                if (word != copy[0]) {
                    ++torn;
                    break;
                }
        }
        return torn;
    });
}
