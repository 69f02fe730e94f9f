// What lies in the memory of the two rings: messages of every size beside slots that the producer of a spsc_ring touches in
// advance, and a locked_store that grows, or hands out, by copying bytes.
#include <tenfold/channel.hpp>
#include <tenfold_testing.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <memory>
#include <random>
#include <thread>
#include <vector>

using namespace tenfold;
using tenfold_testing::run_threads;

namespace {

long stress(long short_form) {
    const char* form = std::getenv("TENFOLD_STRESS");
    return form && std::strcmp(form, "long") == 0 ? short_form * 100 : short_form;
}

// Every byte says which message it belongs to.
template <std::size_t Size>
struct filled {
    std::array<unsigned char, Size> bytes{};

    filled() = default;
    explicit filled(std::uint64_t number) {
        std::fill(bytes.begin(), bytes.end(), static_cast<unsigned char>(number % 251 + 1));
    }
    bool is(std::uint64_t number) const { return bytes == filled(number).bytes; }
};

// The same behind a pointer: it can be moved only, and not byte by byte.
struct boxed {
    std::unique_ptr<filled<8>> inside;

    boxed() = default;
    explicit boxed(std::uint64_t number) : inside(std::make_unique<filled<8>>(number)) {}
    bool is(std::uint64_t number) const { return inside && inside->is(number); }
};

// Numbered messages, `first` and the following ones, in some container.
template <class Container>
Container numbered(std::uint64_t first, std::size_t count) {
    Container all;
    for (std::size_t i = 0; i < count; ++i) all.emplace_back(first + i);
    return all;
}

// Where locked_store::move_out copies messages to.
template <class T>
struct copied_out {
    T* to;
    void* place(std::size_t n) noexcept { return std::exchange(to, to + n); }
    copied_out& operator*() noexcept { return *this; }
    copied_out& operator++() noexcept { return *this; }
    copied_out& operator=(T&& value) noexcept {
        *to++ = std::move(value);
        return *this;
    }
};

}  // namespace

TEMPLATE_TEST_CASE("spsc_ring: single messages and batches in any order, against a counter", "", filled<1>, filled<3>,
                   filled<8>, filled<24>, filled<63>, filled<64>, filled<100>, boxed) {
    std::mt19937 random(7);
    for (const std::size_t capacity : {1u, 2u, 3u, 7u, 64u, 100u, 1024u, 3000u}) {
        spsc_ring<TestType> ring(capacity);
        std::uint64_t in = 0, out = 0;
        std::vector<TestType> box(capacity + 5);
        for (long step = 0, steps = stress(600); step < steps; ++step) {
            const auto most = random() % 4 == 0 ? capacity + 5 : random() % 20;
            const auto room = capacity - static_cast<std::size_t>(in - out), there = static_cast<std::size_t>(in - out);
            std::size_t done = 0;
            bool right = true;
            switch (random() % 6) {
                case 0:
                case 1:
                    for (std::size_t i = 0; i < most; ++i) {
                        TestType value(in);
                        if (!ring.try_push(std::move(value), step % 2 ? pace::now : pace::gather)) {
                            right = right && value.is(in);  // untouched
                            break;
                        }
                        ++in, ++done;
                    }
                    REQUIRE(done == std::min(most, room));
                    break;
                case 2: {
                    auto batch = numbered<std::vector<TestType>>(in, most);
                    in += done = ring.push_some(batch.begin(), batch.size());
                    REQUIRE(done == std::min(most, room));
                    break;
                }
                case 3: {
                    auto batch = numbered<std::list<TestType>>(in, most);
                    in += done = ring.push_some(batch.begin(), batch.size());
                    REQUIRE(done == std::min(most, room));
                    break;
                }
                case 4:
                    for (std::size_t i = 0; i < most && ring.try_pop(box[0]); ++i, ++done) right = right && box[0].is(out++);
                    REQUIRE(done == std::min(most, there));
                    break;
                default:
                    done = step % 2 ? ring.pop_some(box.begin(), most)
                                    : ring.drain([&](TestType&& value) { box[done++] = std::move(value); }, most);
                    for (std::size_t i = 0; i < done; ++i) right = right && box[i].is(out++);
                    REQUIRE(done == std::min(most, there));
            }
            REQUIRE(right);
            REQUIRE(ring.size() == in - out);
        }
    }
}

TEMPLATE_TEST_CASE("spsc_ring: two threads, single messages among batches", "", filled<1>, filled<8>, filled<24>, filled<64>,
                   boxed) {
    for (const std::size_t capacity : {1u, 3u, 64u, 200u, 1024u}) {
        spsc_ring<TestType> ring(capacity);
        const auto n = static_cast<std::uint64_t>(stress(capacity < 10 ? 2'000 : 20'000));
        bool right = true;
        run_threads(2, [&](int who) {
            std::mt19937 random(static_cast<unsigned>(who));
            if (who == 0) {
                for (std::uint64_t in = 0; in < n;) {
                    const auto most = std::min<std::uint64_t>(1 + random() % 90, n - in);
                    std::size_t done = 0;
                    if (most < 30) {
                        auto batch = numbered<std::vector<TestType>>(in, most);
                        done = ring.push_some(batch.begin(), batch.size());
                    } else {
                        while (done < most && ring.try_push(TestType(in + done), pace::gather)) ++done;
                    }
                    if (done == 0) std::this_thread::yield();
                    in += done;
                }
            } else {
                TestType value;
                for (std::uint64_t out = 0; out < n;) {
                    const auto before = out;
                    if (random() % 2)
                        ring.drain([&](TestType&& taken) { right = right && taken.is(out++); }, 1 + random() % 90);
                    else
                        for (unsigned i = random() % 90; i > 0 && ring.try_pop(value, pace::gather); --i)
                            right = right && value.is(out++);
                    if (out == before) std::this_thread::yield();
                }
            }
        });
        CHECK(right);
        CHECK(ring.size() == 0);
    }
}

TEMPLATE_TEST_CASE("fifo_channel: it grows wherever its oldest message lies", "", filled<8>, filled<24>, boxed) {
    for (std::size_t taken = 0; taken < 40; ++taken)
        for (const std::size_t more : {0u, 1u, 15u, 16u, 17u, 33u, 1000u}) {
            fifo_channel<TestType> channel;
            std::uint64_t in = 0, out = 0;
            TestType value;
            bool right = true;
            const auto send = [&](std::size_t count) {
                for (std::size_t i = 0; i < count; ++i) right = right && channel.try_send(TestType(in++)) == channel_status::ok;
            };
            const auto receive = [&](std::size_t count) {
                for (std::size_t i = 0; i < count; ++i)
                    right = right && channel.try_recv(value) == channel_status::ok && value.is(out++);
            };
            send(taken + 3);
            receive(taken);
            send(more);
            receive(more + 3);
            CHECK(right);
            CHECK(channel.depth() == 0);
        }
}

TEST_CASE("fifo_channel: a batch that is copied out") {
    using T = filled<24>;
    for (const std::size_t before : {0u, 1u, 15u, 20u})
        for (const std::size_t count : {0u, 1u, 12u, 16u, 100u})
            for (const std::size_t most : {1u, 7u, 200u}) {
                fifo_channel<T> channel(128);
                std::vector<T> all = numbered<std::vector<T>>(0, before + count), got(count + 1);
                REQUIRE(channel.try_send_batch(all.begin(), before).count == before);
                REQUIRE(channel.try_recv_batch(copied_out<T>{got.data()}, 0).status == channel_status::ok);
                for (std::size_t i = 0; i < before; ++i) REQUIRE(channel.try_recv(got[0]) == channel_status::ok);
                CHECK(channel.try_recv_batch(copied_out<T>{got.data()}, most).status == channel_status::not_now);
                REQUIRE(channel.try_send_batch(all.begin() + static_cast<std::ptrdiff_t>(before), count).count == count);
                channel.close();
                for (std::size_t done = 0; done < count;) {
                    const auto some = channel.try_recv_batch(copied_out<T>{got.data() + done}, most);
                    REQUIRE(some.status == channel_status::ok);
                    REQUIRE(some.count == std::min(most, count - done));
                    done += some.count;
                    REQUIRE(channel.depth() == count - done);
                }
                for (std::size_t i = 0; i < count; ++i) REQUIRE(got[i].is(before + i));
                CHECK(channel.try_recv_batch(copied_out<T>{got.data()}, most).status == channel_status::closed);
            }
}
