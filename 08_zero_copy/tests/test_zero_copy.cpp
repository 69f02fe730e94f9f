// Views, the choice of instruction sets, the team, and memory that changes hands: Arrow, DLPack, owned buffers.
#define TENFOLD_WITHOUT_MATMUL
#define TENFOLD_WITHOUT_MATVEC
#define TENFOLD_WITHOUT_STENCIL
#define TENFOLD_WITHOUT_TRANSPOSE
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>

#include "tenfold/arrow_abi.hpp"
#include "tenfold/dlpack_abi.hpp"
#include "tenfold/owned_buffer.hpp"
#include "tenfold/span_kernels.hpp"
#include "tenfold/span_reduce.hpp"
#include "zero_copy_testing.hpp"

using namespace zero_copy_testing;
namespace dlpack = zc::dlpack;

TEST_CASE("views: what is contiguous, one row, one item") {
    double x[60] = {};
    using view = zc::view2d<const double>;
    REQUIRE(view(x, 5, 12).contiguous());
    REQUIRE(view(x, 5, 12).one_row());
    REQUIRE_FALSE(view(x, 5, 11, 12).one_row());
    REQUIRE_FALSE(view(x, 5, 6, 12, 2).contiguous());
    REQUIRE(view(x, 5, 6, 12, 2).one_row());
    REQUIRE(view(x, 5, 1, 12).one_row());
    REQUIRE(view(x, 5, 1, 12, 77).as_one_row().column_stride == 12);
    REQUIRE_FALSE(view(x, 5, 1, 12).contiguous());
    REQUIRE(view(x, 5, 1, 1, 77).contiguous());
    REQUIRE(view(x, 1, 1, 12, 5).contiguous());
    REQUIRE(view(x, 3, 4, 0, 0).one_item());
    REQUIRE_FALSE(view(x, 3, 4, 0, 1).one_item());
    REQUIRE(view(x, 5, 12).transposed().at(2, 3) == x + 3 * 12 + 2);
    REQUIRE(zc::view2d<const double>(zc::view1d<double>(x + 9, 10, -1)).at(0, 9) == x);
    REQUIRE(zc::overlap_bytes(x, 8, x, 1));
    REQUIRE_FALSE(zc::overlap_bytes(x, 8, x + 1, 8));
    REQUIRE_FALSE(zc::overlap_bytes(x, 0, x, 8));
}

TEST_CASE("instruction sets: what is there, forced down, put back") {
    const zc::simd_report before = zc::simd_info();
    REQUIRE(before.usable.size() >= 1);
    REQUIRE(std::string(before.target).size() > 2);
    std::vector<double> x(100, 3.0);
    for (const zc::simd_level level : zc::simd_levels) {
        REQUIRE(zc::level_named(zc::name(level)) == level);
        const bool usable = std::find(before.usable.begin(), before.usable.end(), level) != before.usable.end();
        if (!usable) {
            REQUIRE_THROWS_AS(zc::force_level(level), std::invalid_argument);
            continue;
        }
        {
            const zc::forced_level forced(level);
            const zc::simd_report now = zc::simd_info();
            REQUIRE((now.selected == level && now.forced));
            if (level == zc::simd_level::avx2) REQUIRE((now.vector_bytes == 32 && std::string(now.target) == "AVX2"));
            if (level == zc::simd_level::avx512) REQUIRE((now.vector_bytes == 64 && std::string(now.target) == "AVX3"));
            if (level == zc::simd_level::neon) REQUIRE(now.vector_bytes == 16);
            REQUIRE(zc::sum<double>(std::span<const double>(x), 1) == 300.0);
        }
        REQUIRE((zc::selected_level() == before.selected && zc::simd_info().forced == before.forced));
    }
    zc::choose_level();
    REQUIRE_FALSE(zc::simd_info().forced);
    REQUIRE_FALSE(zc::level_named("sse9"));
}

TEST_CASE("the environment forces a level; a name that is unknown or not there changes nothing") {
    const zc::simd_level best = [] {
        zc::choose_level();
        return zc::selected_level();
    }();
    ::setenv("TENFOLD_ZERO_COPY_SIMD", zc::name(zc::simd_info().usable.front()), 1);
    REQUIRE(zc::detail::level_choice().level() == zc::simd_info().usable.front());
    ::setenv("TENFOLD_ZERO_COPY_SIMD", "sse9", 1);
    REQUIRE(zc::detail::level_choice().level() == best);
    ::unsetenv("TENFOLD_ZERO_COPY_SIMD");
    REQUIRE(zc::detail::level_choice().level() == best);
    REQUIRE_FALSE(zc::detail::level_choice().forced());
}

TEST_CASE("the level changes while others compute: every answer is right") {
    const auto x = numbers<double>(20'000, 1);
    const double want = zc::sum<double>(std::span(x), 1);
    const auto usable = zc::simd_info().usable;
    std::atomic<bool> over{false};
    std::jthread changing([&] {
        for (std::size_t i = 0; !over.load(); ++i) zc::force_level(usable[i % usable.size()]);
    });
    tenfold_testing::run_threads(4, [&](int) {
        for (int i = 0; i < 200; ++i)
            if (!same(zc::sum<double>(std::span(x), 1), want)) std::abort();
    });
    over = true;
    changing.join();
    zc::choose_level();
}

TEST_CASE("the team: every chunk once, the lowest error, a stop, nested, wrong arguments") {
    for (const int threads : thread_counts)
        for (const auto how : {zc::deal::evenly, zc::deal::on_demand}) {
            std::vector<std::atomic<int>> seen(1003);
            std::atomic<int> crooked{0};
            zc::over_chunks(
                1003, 10, threads,
                [&](std::size_t begin, std::size_t end) {
                    if (begin % 10 != 0 || (end - begin != 10 && end != 1003)) crooked.fetch_add(1);
                    for (std::size_t i = begin; i < end; ++i) seen[i].fetch_add(1);
                },
                tenfold::never_stop{}, how);
            REQUIRE(crooked == 0);
            for (const auto& each : seen) REQUIRE(each == 1);
            REQUIRE_THROWS_WITH(zc::over_chunks(
                                    1000, 1, threads,
                                    [&](std::size_t begin, std::size_t) {
                                        if (begin % 7 == 3) throw std::runtime_error("chunk " + std::to_string(begin));
                                    },
                                    tenfold::never_stop{}, how),
                                "chunk 3");
            // Asked once for certain; again for each chunk that the caller itself takes, and when dealt evenly it has its share.
            int asked = 0;
            const int at = how == zc::deal::evenly ? 2 : 1;
            REQUIRE_THROWS_AS(zc::over_chunks(
                                  100'000, 1, threads, [](std::size_t, std::size_t) {}, [&] { return ++asked == at; }, how),
                              tenfold::stopped);
            zc::over_chunks(
                4, 1, threads,
                [&](std::size_t, std::size_t) {
                    zc::over_chunks(4, 1, threads, [](std::size_t, std::size_t) {});  // inside a region: runs here
                },
                tenfold::never_stop{}, how);
        }
    REQUIRE_THROWS_AS(zc::over_chunks(1, 0, 1, [](std::size_t, std::size_t) {}), std::invalid_argument);
    REQUIRE_THROWS_AS(zc::over_chunks(1, 1, 0, [](std::size_t, std::size_t) {}), std::invalid_argument);
    zc::over_chunks(0, 1, 4, [](std::size_t, std::size_t) { REQUIRE(false); });
}

// ThreadSanitizer's own threads do not survive a fork, and clang's runtime starts anew there anyway.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TENFOLD_NO_FORK
#endif
#endif
#ifndef TENFOLD_NO_FORK
TEST_CASE("after a fork the child gets the answer") {
    std::vector<double> x(1'000'000, 1.0);
    REQUIRE(zc::sum<double>(std::span<const double>(x), 4) == 1e6);  // the team has started
    const int code = tenfold_testing::run_child(60, [&] {
        for (const int threads : thread_counts) {
            if (zc::sum<double>(std::span<const double>(x), threads) != 1e6) return 1;
            zc::add<double>(std::span<const double>(x), std::span<const double>(x), std::span(x), threads);
            zc::scale<double>(std::span<const double>(x), 0.5, std::span(x), threads);
        }
        return 42;
    });
    REQUIRE(code == 42);
}
#endif

TEST_CASE("owned buffers: aligned, moved, released exactly once") {
    const auto before = zc::owned_buffers();
    {
        zc::owned_buffer<double> a(1000), none(0), empty;
        zc::owned_buffer<float> large(3 << 20);
        large.span().back() = 1.0f;
        REQUIRE(reinterpret_cast<std::uintptr_t>(a.data()) % 64 == 0);
        REQUIRE(none.data() != nullptr);
        REQUIRE(zc::owned_buffers().live() == before.live() + 3);
        zc::owned_buffer<double> b(std::move(a));
        REQUIRE((a.data() == nullptr && b.size() == 1000));
        none = std::move(b);
        REQUIRE(zc::owned_buffers().live() == before.live() + 2);
        REQUIRE_THROWS_AS(zc::owned_buffer<double>(~std::size_t{0}), std::bad_alloc);
    }
    REQUIRE(zc::owned_buffers().live() == before.live());
    REQUIRE(zc::owned_buffers().made == before.made + 3);
    tenfold_testing::run_threads(4, [](int) {
        for (int i = 0; i < 100; ++i) zc::owned_buffer<float>(static_cast<std::size_t>(i));
    });
    REQUIRE(zc::owned_buffers().made == before.made + 403);
    REQUIRE(zc::owned_buffers().live() == before.live());
}

namespace {

// Says when it is gone.
struct witness {
    explicit witness(int* gone) : gone_(gone) {}
    witness(witness&& other) noexcept : gone_(std::exchange(other.gone_, nullptr)) {}
    witness& operator=(witness&&) = delete;
    ~witness() {
        if (gone_ != nullptr) ++*gone_;
    }
    int* gone_;
};

}  // namespace

TEMPLATE_TEST_CASE("Arrow array: the same address on the other side, released exactly once", "", double, float) {
    using T = TestType;
    const auto before = zc::arrow_exports();
    std::vector<T> data{1, 2, 3, 4};
    int gone = 0;
    {
        ArrowSchema raw_schema;
        ArrowArray raw;
        zc::export_array<T>(witness(&gone), data.data(), data.size(), &raw_schema, &raw);
        REQUIRE(gone == 0);
        zc::arrow_owned<ArrowSchema> schema(&raw_schema);
        zc::arrow_owned<ArrowArray> array(&raw);
        REQUIRE((raw.release == nullptr && raw_schema.release == nullptr));
        auto view = zc::import_array<T>(*schema.get(), *array.get());
        REQUIRE((view.data == data.data() && view.size == 4 && view.stride == 1));
        array->offset = 1, array->length = 2;
        view = zc::import_array<T>(*schema.get(), *array.get());
        REQUIRE((view.data == data.data() + 1 && view.size == 2));
        zc::arrow_owned<ArrowArray> moved(std::move(array));
        REQUIRE_FALSE(static_cast<bool>(array));
        REQUIRE_THROWS_AS(zc::import_array<T>(*schema.get(), *array.get()), std::invalid_argument);
        ArrowArray handed;
        moved.release_to(&handed);
        moved.reset();
        REQUIRE(gone == 0);
        handed.release(&handed);
        REQUIRE((gone == 1 && handed.release == nullptr));
        handed.length = 0;
    }
    REQUIRE(gone == 1);
    REQUIRE(zc::arrow_exports().exported == before.exported + 2);
    REQUIRE(zc::arrow_exports().released == before.released + 2);
}

TEST_CASE("Arrow array: what cannot be read in place is refused, with the reason") {
    std::vector<double> data{1, 2, 3};
    ArrowSchema raw_schema;
    ArrowArray raw;
    zc::export_array<double>(0, data.data(), data.size(), &raw_schema, &raw);
    zc::arrow_owned<ArrowSchema> schema(&raw_schema);
    zc::arrow_owned<ArrowArray> array(&raw);
    REQUIRE_THROWS_AS(zc::import_array<float>(*schema.get(), *array.get()), std::invalid_argument);
    const unsigned char all = 0xff, second_missing = 0xfd;
    array->null_count = -1;  // not counted
    array->buffers[0] = &all;
    REQUIRE(zc::import_array<double>(*schema.get(), *array.get()).size == 3);
    array->buffers[0] = &second_missing;
    REQUIRE_THROWS_AS(zc::import_array<double>(*schema.get(), *array.get()), std::invalid_argument);
    array->offset = 2, array->length = 1;  // the null is not in this part
    REQUIRE(zc::import_array<double>(*schema.get(), *array.get()).size == 1);
    array->null_count = 1;
    REQUIRE_THROWS_AS(zc::import_array<double>(*schema.get(), *array.get()), std::invalid_argument);
    array->buffers[0] = nullptr, array->null_count = 0, array->offset = 0;
    array->n_children = 1;
    REQUIRE_THROWS_AS(zc::import_array<double>(*schema.get(), *array.get()), std::invalid_argument);
    array->n_children = 0;
    array->buffers[1] = reinterpret_cast<const char*>(data.data()) + 1;
    REQUIRE_THROWS_AS(zc::import_array<double>(*schema.get(), *array.get()), std::invalid_argument);
    array->buffers[1] = nullptr;
    REQUIRE_THROWS_AS(zc::import_array<double>(*schema.get(), *array.get()), std::invalid_argument);
    array->length = 0;
    REQUIRE(zc::import_array<double>(*schema.get(), *array.get()).size == 0);
}

TEST_CASE("Arrow stream: arrays in order, errors as text, everything released whoever stops first") {
    const auto before = zc::arrow_exports();
    int gone = 0;
    std::vector<float> data{1, 2, 3, 4, 5, 6};
    const auto source = [&](int arrays, int fails_at) {
        return [&, arrays, fails_at, next = 0](ArrowArray* out) mutable {
            if (next == fails_at) throw std::runtime_error("the source died");
            if (next == arrays) return false;
            zc::export_array<float>(witness(&gone), data.data() + 2 * next, 2, out);
            ++next;
            return true;
        };
    };
    {
        ArrowArrayStream raw;
        zc::export_stream<float>(source(3, -1), &raw);
        zc::stream_reader<float> reader(&raw);
        REQUIRE(raw.release == nullptr);
        zc::arrow_owned<ArrowArray> array;
        float next = 1;
        while (reader.next(array)) {
            const auto view = reader.view(*array.get());
            REQUIRE((view.size == 2 && view[0] == next && view[1] == next + 1 &&
                     view.data == &data[static_cast<std::size_t>(next) - 1]));
            next += 2;
        }
        REQUIRE((next == 7 && gone == 3));
        REQUIRE_FALSE(reader.next(array));  // and again
    }
    {
        ArrowArrayStream raw;
        zc::export_stream<float>(source(3, 1), &raw);
        zc::stream_reader<float> reader(&raw);
        zc::arrow_owned<ArrowArray> array;
        REQUIRE(reader.next(array));
        REQUIRE_THROWS_WITH(reader.next(array), "Arrow stream: the source died");
        REQUIRE(gone == 4);
    }
    {
        ArrowArrayStream raw;
        zc::export_stream<float>(source(3, -1), &raw);
        REQUIRE_THROWS_AS(zc::stream_reader<double>(&raw),
                          std::invalid_argument);  // another type: released by the failed reader
        REQUIRE_THROWS_AS(zc::stream_reader<float>(&raw), std::invalid_argument);
        zc::export_stream<float>([](ArrowArray*) -> bool { throw std::bad_alloc(); }, &raw);
        ArrowArray array;
        REQUIRE(raw.get_last_error(&raw) == nullptr);
        REQUIRE(raw.get_next(&raw, &array) == ENOMEM);
        REQUIRE(array.release == nullptr);
        raw.release(&raw);
    }
    const auto after = zc::arrow_exports();
    REQUIRE(after.exported - before.exported == after.released - before.released);
    REQUIRE(after.exported > before.exported);
}

TEMPLATE_TEST_CASE("DLPack: the same address, shape and strides, deleted exactly once", "", double, float) {
    using T = TestType;
    const auto before = dlpack::exports();
    std::vector<T> data(24);
    int gone = 0;
    const std::int64_t shape[] = {2, 3}, strides[] = {12, -2}, one[] = {5};
    {
        dlpack::managed_owner versioned(dlpack::export_versioned(witness(&gone), data.data(), shape));
        REQUIRE((dlpack::version_fits(*versioned.get()) && !dlpack::is_read_only(*versioned.get())));
        const auto view = dlpack::view_of<const T>(versioned.tensor());
        REQUIRE((view.data == data.data() && view.rows == 2 && view.columns == 3 && view.contiguous()));

        dlpack::managed_owner read_only(
            dlpack::export_versioned(witness(&gone), static_cast<const T*>(data.data() + 4), shape, strides));
        REQUIRE(dlpack::is_read_only(*read_only.get()));
        REQUIRE(dlpack::view_of<const T>(read_only.tensor()).at(1, 2) == data.data() + 4 + 12 - 4);

        dlpack::managed_owner old(dlpack::export_unversioned(witness(&gone), data.data(), one));
        old.get()->dl_tensor.byte_offset = 2 * sizeof(T);
        old.get()->dl_tensor.strides = nullptr;  // allowed: dense
        REQUIRE((dlpack::view_of<T>(old.tensor()).data == data.data() + 2 && dlpack::view_of<T>(old.tensor()).columns == 5));
        dlpack::managed_owner moved(std::move(old));
        REQUIRE_FALSE(static_cast<bool>(old));
        REQUIRE(gone == 0);
        auto* handed = moved.release();
        handed->deleter(handed);
        REQUIRE(gone == 1);
    }
    REQUIRE(gone == 3);
    REQUIRE(dlpack::exports().made == before.made + 3);
    REQUIRE(dlpack::exports().released == before.released + 3);
}

TEST_CASE("DLPack: what cannot be read in place is refused") {
    std::vector<double> data(8);
    const std::int64_t cube[] = {2, 2, 2}, four[] = {4};
    dlpack::managed_owner tensor(dlpack::export_versioned(0, data.data(), cube));
    REQUIRE_THROWS_AS(dlpack::view_of<double>(tensor.tensor()), std::invalid_argument);
    tensor = dlpack::managed_owner(dlpack::export_versioned(0, data.data(), four));
    REQUIRE_THROWS_AS(dlpack::view_of<float>(tensor.tensor()), std::invalid_argument);
    auto& inside = tensor.get()->dl_tensor;
    inside.device.device_type = 2;
    REQUIRE_THROWS_AS(dlpack::view_of<double>(tensor.tensor()), std::invalid_argument);
    inside.device.device_type = dlpack::device_cpu;
    inside.byte_offset = 4;
    REQUIRE_THROWS_AS(dlpack::view_of<double>(tensor.tensor()), std::invalid_argument);
    inside.byte_offset = 0;
    inside.dtype.lanes = 2;
    REQUIRE_THROWS_AS(dlpack::view_of<double>(tensor.tensor()), std::invalid_argument);
    inside.dtype.lanes = 1;
    inside.shape[0] = -1;
    REQUIRE_THROWS_AS(dlpack::view_of<double>(tensor.tensor()), std::invalid_argument);
    inside.shape[0] = 0;
    REQUIRE(dlpack::view_of<double>(tensor.tensor()).size() == 0);
    inside.shape[0] = 4, inside.ndim = 0;
    REQUIRE(dlpack::view_of<double>(tensor.tensor()).size() == 1);
    tensor.get()->version.major = 2;
    REQUIRE_FALSE(dlpack::version_fits(*tensor.get()));
    REQUIRE_THROWS_AS(dlpack::export_versioned(0, data.data(), four, cube), std::invalid_argument);
}
