// tenfold/single_writer.hpp: a counter that costs its writers an ordinary addition, however many threads count.
//
// Why: a contended fetch_add moves one cache line from core to core for every single increment, and even alone it locks the
// line. Here every thread adds to a cell of its own. A cell has one writer, so a relaxed load and a relaxed store are enough:
// no locked instruction, no line that two cores write. A reader adds up the cells.
//
// The price: get() takes a mutex and looks at one cell per thread; it is not linearizable. It may miss an addition that another
// thread has finished but told nobody about, and see a later one. What happened before the get (a join, a message received)
// is in it, exactly. No set(), no compare_and_swap(), no "value before": for those, atomic_counter.
//
// Threads come and go: a thread gets its cells at its first addition; when it ends, the next new thread takes them over, counts
// and all. So memory and the time of get() follow the largest number of threads that lived at once. Counters may be made and
// destroyed at any time (not while another thread is inside add, of course), threads may outlive them, forked children go on
// counting from what the parent had. Not for signal handlers: one that adds between the load and the store is lost.
//
// Copy: this file.   #include <tenfold/single_writer.hpp>   C++20; link the platform's threads library (-pthread).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tenfold {
namespace atomic_detail {

using cell = std::atomic<std::uint64_t>;
static_assert(cell::is_always_lock_free);

// A row of cells belongs to one thread at a time and holds a cell for each living counter: counter k uses cell k. A row that
// has become too short gets a longer array beside the old one, whose counts stay where they are and count: cells never
// move. Arrays start on lines of their own (128 bytes: prefetchers fetch pairs of lines), so no two threads write one line.
struct cell_row {
    static constexpr std::align_val_t alignment{128};
    struct release {
        void operator()(cell* cells) const noexcept { ::operator delete[](cells, alignment); }
    };
    struct array {
        std::unique_ptr<cell[], release> cells;
        std::size_t size;
    };
    std::vector<array> arrays;  // the last is the longest, and the one that is written

    std::size_t size() const noexcept { return arrays.empty() ? 0 : arrays.back().size; }
    cell* cells() const noexcept { return arrays.back().cells.get(); }

    void hold(std::size_t wanted) {
        if (wanted <= size()) return;
        const std::size_t longer = std::bit_ceil(std::max<std::size_t>(wanted, 16));
        arrays.reserve(arrays.size() + 1);
        arrays.push_back({std::unique_ptr<cell[], release>(new (alignment) cell[longer]()), longer});
    }
    std::uint64_t sum(std::size_t index) const noexcept {
        std::uint64_t total = 0;  // relaxed: pairs with the stores in add(); who needs an order has it from elsewhere (a join)
        for (const array& each : arrays)
            if (index < each.size) total += each.cells[index].load(std::memory_order_relaxed);
        return total;
    }
};

// What a thread needs on its way: no destructor, so that it works until the very end of the thread.
struct thread_cells {
    cell* cells;
    std::size_t size;
    cell_row* row;
    bool over;  // this thread's row has been given back; destructors of other thread-locals may still count
};
inline constinit thread_local thread_cells my_cells{nullptr, 0, nullptr, false};

// All rows, the free ones, and which cell numbers are taken. The mutex guards everything here, and growing a row.
class cell_registry {
public:
    // Never destroyed: threads may count while, and after, static objects are destroyed.
    static cell_registry& instance() {
        static cell_registry& registry = *std::make_unique<cell_registry>().release();
        return registry;
    }

    cell_registry() {
#if defined(__unix__) || defined(__APPLE__)
        // A child of fork() has only the thread that forked. The mutex must be free there, and the rows of the others too.
        ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                         [] {
                             instance().adopt_orphans();
                             instance().mutex_.unlock();
                         });
#endif
    }

    std::size_t take_index() {
        const std::lock_guard lock(mutex_);
        if (!free_indices_.empty()) {
            const std::size_t index = free_indices_.back();
            free_indices_.pop_back();
            return index;
        }
        shared_.hold(indices_ + 1);
        free_indices_.reserve(indices_ + 1);  // so that giving back cannot fail
        return indices_++;
    }
    void give_index(std::size_t index) noexcept {
        const std::lock_guard lock(mutex_);
        free_indices_.push_back(index);
    }

    std::uint64_t sum(std::size_t index) {
        const std::lock_guard lock(mutex_);
        std::uint64_t total = shared_.sum(index);
        for (const auto& row : rows_) total += row->sum(index);
        return total;
    }

    // The calling thread's cell; nullptr when its row is gone because the thread is ending. The slow way: a thread's first
    // addition, and its first to a counter beyond its row.
    cell* find(std::size_t index) {
        thread_cells& mine = my_cells;
        if (mine.over) return nullptr;
        thread_local give_back at_thread_exit;
        const std::lock_guard lock(mutex_);
        if (!mine.row) mine.row = take_row();
        mine.row->hold(index + 1);
        mine.cells = mine.row->cells();
        mine.size = mine.row->size();
        return &mine.cells[index];
    }

    // Not inline: add() must stay so small that it is.
    [[gnu::noinline, gnu::cold]] static void add_slowly(std::size_t index, std::uint64_t delta) noexcept {
        cell_registry& registry = instance();
        try {
            if (cell* const own = registry.find(index)) {
                own->store(own->load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);  // as in add()
                return;
            }
        } catch (const std::bad_alloc&) {  // then where threads without a row count
        }
        const std::lock_guard lock(registry.mutex_);
        registry.shared_.cells()[index].fetch_add(delta, std::memory_order_relaxed);  // relaxed: the mutex orders it
    }

private:
    struct give_back {
        ~give_back() {
            thread_cells& mine = my_cells;
            cell_registry& registry = instance();
            const std::lock_guard lock(registry.mutex_);
            if (mine.row) registry.free_rows_.push_back(mine.row);
            mine = {nullptr, 0, nullptr, true};
        }
    };

    cell_row* take_row() {
        if (!free_rows_.empty()) {  // with its counts: the mutex hands it from the last writer to the next
            cell_row* const row = free_rows_.back();
            free_rows_.pop_back();
            return row;
        }
        free_rows_.reserve(rows_.size() + 1);  // so that giving back cannot fail
        rows_.push_back(std::make_unique<cell_row>());
        return rows_.back().get();
    }
    void adopt_orphans() noexcept {
        free_rows_.clear();
        for (const auto& row : rows_)
            if (row.get() != my_cells.row) free_rows_.push_back(row.get());
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<cell_row>> rows_;
    std::vector<cell_row*> free_rows_;
    std::vector<std::size_t> free_indices_;
    std::size_t indices_ = 0;
    cell_row shared_;  // for those who have no row
};

}  // namespace atomic_detail

class single_writer_counter {
public:
    single_writer_counter() = default;
    single_writer_counter(const single_writer_counter&) = delete;
    single_writer_counter& operator=(const single_writer_counter&) = delete;
    ~single_writer_counter() { atomic_detail::cell_registry::instance().give_index(index_); }

    void increment() noexcept { add(1); }

    void add(std::uint64_t delta) noexcept {
        auto& mine = atomic_detail::my_cells;
        if (index_ < mine.size) [[likely]] {
            add_to(mine.cells[index_], delta);
        } else {
            atomic_detail::cell_registry::add_slowly(index_, delta);
        }
    }

    /// The sum of all threads' cells, modulo 2^64.
    std::uint64_t get() const { return atomic_detail::cell_registry::instance().sum(index_) - before_; }

    /// The calling thread's own cell, looked up once, for loops that do little else than count. For this thread only, and not
    /// longer than the counter: in another thread's hands additions would be lost.
    class writer {
    public:
        void increment() noexcept { add(1); }
        void add(std::uint64_t delta) noexcept { add_to(*cell_, delta); }

    private:
        friend single_writer_counter;
        explicit writer(atomic_detail::cell* cell) : cell_(cell) {}
        atomic_detail::cell* cell_;
    };
    writer mine() {
        atomic_detail::cell* const own = atomic_detail::cell_registry::instance().find(index_);
        if (!own) throw std::logic_error("this thread is ending: use add()");
        return writer(own);
    }

private:
    static void add_to(atomic_detail::cell& own, std::uint64_t delta) noexcept {
        // This thread is the cell's only writer: nothing comes between the load and the store. Relaxed: sum() reads it, relaxed.
        own.store(own.load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);
    }

    // A cell number that another counter used before still holds its counts: they are subtracted, not wiped, because nobody
    // but a cell's thread may write to it.
    std::size_t index_ = atomic_detail::cell_registry::instance().take_index();
    std::uint64_t before_ = atomic_detail::cell_registry::instance().sum(index_);
};

}  // namespace tenfold
