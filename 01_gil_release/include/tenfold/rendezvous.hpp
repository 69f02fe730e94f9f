// rendezvous.hpp - proof, without a stopwatch, that several threads are inside native code at the same moment.
//
// Each thread calls meet() and leaves it only when all parties have arrived. If the call holds a lock that the others
// need to get in (the GIL), they never meet and the limit runs out: that is the control. A test that measures time
// can be fooled by a busy machine; this one cannot.
//
// Copy: this file.   #include <tenfold/rendezvous.hpp>   C++20; link the platform's threads library.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>

namespace tenfold {

class rendezvous {
public:
    explicit rendezvous(int parties) : parties_(parties) {}

    /// True when `parties` threads were inside at once; false when `seconds` ran out or `stop()` said so first. Then, and
    /// when stop() throws, this thread no longer counts as arrived. Works again for the next group.
    template <class Stop>
    bool meet(double seconds, Stop stop) {
        using clock = std::chrono::steady_clock;
        const auto begin = clock::now();
        std::unique_lock lock(mutex_);
        const auto group = group_;
        if (++arrived_ == parties_) {
            arrived_ = 0;
            ++group_;
            all_here_.notify_all();
            return true;
        }
        std::exception_ptr failure;
        while (group == group_) {
            const double left = seconds - std::chrono::duration<double>(clock::now() - begin).count();
            bool give_up = !(left > 0);
            if (!give_up) {
                all_here_.wait_for(lock, std::chrono::duration<double>(left < 0.02 ? left : 0.02));
                if (group != group_) break;
                lock.unlock();  // stop() may need another lock (the GIL) whose holder may want this one
                try {
                    give_up = stop();
                } catch (...) {
                    failure = std::current_exception();
                    give_up = true;
                }
                lock.lock();
            }
            if (give_up) {
                if (group == group_) --arrived_;
                if (failure) std::rethrow_exception(failure);
                return group != group_;
            }
        }
        return true;
    }

private:
    const int parties_;
    std::mutex mutex_;
    std::condition_variable all_here_;
    int arrived_ = 0;
    unsigned long long group_ = 0;
};

}  // namespace tenfold
