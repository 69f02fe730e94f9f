// Is there an order in which the calls could have happened one after the other? Threads make short random histories of try_send,
// try_recv and close(); each call notes when it began and ended; a search (Wing and Gong 1993, with Lowe's table of visited
// states) looks for an order of the calls that respects these times and gives what each of them answered.
//   fifo_channel, spsc_channel: one queue of exactly `capacity`, first in, first out over all senders.
//   channel (moodycamel) and lockfree_channel (Boost): what their headers promise and no more. Order per sender; "empty" is allowed while a send is on its way;
//   a receive that is on its way may already have given its room back.
// close() takes effect at two points in its duration: sends are refused from the first, receivers are told from the second.
#include <tenfold/boost_store.hpp>
#include <tenfold/channel.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace tenfold;
using tenfold_testing::run_threads;

#ifdef TENFOLD_CHANNEL_TSAN
extern "C" const char* __tsan_default_suppressions() { return "race:/concurrentqueue.h\nrace:/boost/lockfree/"; }
#endif

namespace {

enum class op { send, recv, refuse, seal };

struct call {
    op what;
    int sender;
    char value;  // sent, or received
    channel_status answer;
    std::uint64_t begin, end;
};

struct promise {
    std::size_t capacity;
    bool total_order;
};

class search {
public:
    search(const std::vector<call>& calls, promise promised) : calls_(calls), promised_(promised) {}
    bool finds_an_order() { return from(0, "", 0); }

private:
    static bool overlap(const call& a, const call& b) { return a.begin < b.end && b.begin < a.end; }
    std::size_t others(const call& of, op what) const {
        return static_cast<std::size_t>(std::count_if(calls_.begin(), calls_.end(), [&](const call& c) {
            return &c != &of && c.what == what && c.answer == channel_status::ok && overlap(c, of);
        }));
    }

    // `inside`: (sender, value) of the messages in the order of their sends. `closed`: 0, 1 refusing, 2 sealed.
    bool from(std::uint64_t done, const std::string& inside, int closed) {
        if (done == (std::uint64_t{1} << calls_.size()) - 1) return true;
        if (!seen_.insert(std::to_string(done) + ":" + inside).second) return false;
        std::uint64_t first_end = UINT64_MAX;
        for (std::size_t i = 0; i < calls_.size(); ++i)
            if (!(done >> i & 1)) first_end = std::min(first_end, calls_[i].end);
        for (std::size_t i = 0; i < calls_.size(); ++i) {
            if (done >> i & 1 || calls_[i].begin > first_end) continue;  // one that has ended before this began must come first
            std::string next = inside;
            int then = closed;
            if (could_be(calls_[i], next, then) && from(done | std::uint64_t{1} << i, next, then)) return true;
        }
        return false;
    }

    bool could_be(const call& c, std::string& inside, int& closed) const {
        const std::size_t depth = inside.size() / 2;
        const std::size_t leaving = promised_.total_order ? 0 : others(c, op::recv);
        switch (c.what) {
            case op::refuse: closed = std::max(closed, 1); return true;
            case op::seal: return std::exchange(closed, 2) >= 1;
            case op::send:
                if (c.answer == channel_status::closed) return closed >= 1;
                if (c.answer == channel_status::not_now) return closed == 0 && depth >= promised_.capacity;
                if (closed != 0 || depth >= promised_.capacity + leaving) return false;
                inside += static_cast<char>('0' + c.sender);
                inside += c.value;
                return true;
            case op::recv:
                if (c.answer == channel_status::closed) return closed == 2 && depth == 0;
                if (c.answer == channel_status::not_now)
                    return (depth == 0 && closed != 2) || (!promised_.total_order && others(c, op::send) != 0);
                for (std::size_t i = 0; i < inside.size(); i += 2) {
                    if (inside[i + 1] == c.value) {
                        inside.erase(i, 2);
                        return true;
                    }
                    if (promised_.total_order || inside[i] == '0' + c.sender) return false;  // something must come before it
                }
                return false;
        }
        return false;
    }

    const std::vector<call>& calls_;
    const promise promised_;
    std::set<std::string> seen_;
};

std::uint64_t tick() {
    static std::atomic<std::uint64_t> clock{0};
    return clock.fetch_add(1);  // seq_cst: times are ordered as the calls are
}

template <class Channel>
void histories(int senders, int receivers, bool total_order) {
    const char* form = std::getenv("TENFOLD_STRESS");
    const int rounds = form && std::strcmp(form, "long") == 0 ? 100'000 : 1'000;
    const int threads = senders + receivers + 1;  // one closes
    const int each = 16 / (senders + receivers);
    std::barrier together(threads);
    std::atomic<int> at_start{0};
    std::vector<std::vector<call>> made(static_cast<std::size_t>(threads));
    std::unique_ptr<Channel> channel;
    std::size_t capacity = 0;
    int refuted = 0, overlapping = 0;
    run_threads(threads, [&](int who) {
        std::mt19937 random(static_cast<unsigned>(who) + 1);
        for (int round = 0; round < rounds; ++round) {
            if (who == 0) {
                capacity = 1 + random() % 3;
                channel = std::make_unique<Channel>(capacity);
            }
            auto& mine = made[static_cast<std::size_t>(who)];
            mine.clear();
            together.arrive_and_wait();
            at_start.fetch_add(1);  // a barrier wakes one after the other: start when all are awake
            while (at_start.load() < (round + 1) * threads) std::this_thread::yield();
            if (who == threads - 1) {
                for (auto i = random() % 400; i > 0; --i) channel_detail::cpu_pause();
                const auto begin = tick();
                channel->close();
                const auto end = tick();
                mine.push_back({op::refuse, 0, 0, channel_status::ok, begin, end});
                mine.push_back({op::seal, 0, 0, channel_status::ok, begin, end});
            } else {
                for (int i = 0; i < each; ++i) {
                    char value = static_cast<char>('a' + who * each + i);
                    const auto begin = tick();
                    const auto answer = who < senders ? channel->try_send(char{value}) : channel->try_recv(value);
                    mine.push_back({who < senders ? op::send : op::recv, who, value, answer, begin, tick()});
                    for (auto pauses = random() % 8; pauses > 0; --pauses) channel_detail::cpu_pause();
                }
            }
            together.arrive_and_wait();
            if (who == 0) {
                std::vector<call> all;
                for (const auto& some : made) all.insert(all.end(), some.begin(), some.end());
                for (call& c : all)  // a receive is told whose message it got, for the order per sender
                    if (c.what == op::recv) c.sender = (c.value - 'a') / each;
                for (std::size_t i = 0; i + 3 < all.size(); ++i)
                    if (all[i].end > all[i].begin + 1) {
                        ++overlapping;
                        break;
                    }
                if (!search(all, {capacity, total_order}).finds_an_order()) ++refuted;
            }
            together.arrive_and_wait();
        }
    });
    CHECK(refuted == 0);
    if (overlapping == 0) WARN("no two calls overlapped: a single CPU, or a busy one");
}

}  // namespace

TEST_CASE("the search itself: accepts and refutes") {
    const auto ok = channel_status::ok;
    const std::vector<call> in_order{{op::send, 0, 'a', ok, 0, 1}, {op::send, 0, 'b', ok, 2, 3}, {op::recv, 0, 'a', ok, 4, 5}};
    CHECK(search(in_order, {2, true}).finds_an_order());
    CHECK_FALSE(search(in_order, {1, true}).finds_an_order());  // two in a channel of one
    std::vector<call> swapped = in_order;
    swapped[2].value = 'b';
    CHECK_FALSE(search(swapped, {2, true}).finds_an_order());
    CHECK_FALSE(search(swapped, {2, false}).finds_an_order());  // of one sender
    swapped[1].sender = swapped[2].sender = 1;
    CHECK_FALSE(search(swapped, {2, true}).finds_an_order());
    CHECK(search(swapped, {2, false}).finds_an_order());  // of two
    std::vector<call> lost = in_order;
    lost[2].answer = channel_status::not_now;
    CHECK_FALSE(search(lost, {2, true}).finds_an_order());
    CHECK_FALSE(search(lost, {2, false}).finds_an_order());
    lost[1].end = 9;  // the second send is still on its way, but the first is there
    CHECK_FALSE(search(lost, {2, true}).finds_an_order());
    lost[0].end = 9;
    CHECK(search(lost, {2, true}).finds_an_order());
    const std::vector<call> twice{{op::send, 0, 'a', ok, 0, 1}, {op::recv, 0, 'a', ok, 2, 5}, {op::recv, 0, 'a', ok, 3, 6}};
    CHECK_FALSE(search(twice, {2, false}).finds_an_order());
}

TEST_CASE("spsc_channel: linearizable, close() included") { histories<spsc_channel<char>>(1, 1, true); }
TEST_CASE("fifo_channel: linearizable, close() included") {
    histories<fifo_channel<char>>(1, 1, true);
    histories<fifo_channel<char>>(2, 2, true);
}
TEST_CASE("lockfree_channel: order per sender, bound, close()") {
    histories<lockfree_channel<char>>(1, 1, false);
    histories<lockfree_channel<char>>(2, 2, false);
}
TEST_CASE("channel: order per sender, bound, close()") {
    histories<channel<char>>(1, 1, false);
    histories<channel<char>>(2, 2, false);
}
