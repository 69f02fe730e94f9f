"""Lesson 08's tables: fused expressions, pictures, products, memory bandwidth, against what a reader would use instead.

`--plot DIR` draws the page's pictures as well: the photograph before and after, and what the instruction sets are worth.
"""

import ctypes
import os
import platform
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # NumPy's products are compared on one thread; before it is imported
    os.environ[name] = "1"

import tenfold_bench as bench  # noqa: E402
import zero_copy as zc  # noqa: E402

np = bench.optional("numpy")
scipy = bench.optional("scipy")
numba = bench.optional("numba")
numexpr = bench.optional("numexpr")
THREADS = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
OPTIONS = sys.argv[1:]
LARGE = 16_000_000

# ---- peers in C++: the machine's own limit, and what a compiler makes of plain loops

PEERS = r"""
#include <cstddef>
#include <omp.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// STREAM's triad with stores that go past the cache: what this memory can do. Arrays start on a cache line.
extern "C" void triad(double* a, const double* b, const double* c, long n, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long i = 0; i < n; i += 8) {
#if defined(__AVX512F__)
        _mm512_stream_pd(a + i, _mm512_add_pd(_mm512_load_pd(b + i), _mm512_mul_pd(_mm512_set1_pd(3.0), _mm512_load_pd(c + i))));
#elif defined(__AVX__)
        for (long j = i; j < i + 8; j += 4)
            _mm256_stream_pd(a + j, _mm256_add_pd(_mm256_load_pd(b + j), _mm256_mul_pd(_mm256_set1_pd(3.0), _mm256_load_pd(c + j))));
#else
        for (long j = i; j < i + 8; ++j) a[j] = b[j] + 3.0 * c[j];
#endif
    }
#if defined(__x86_64__)
    _mm_sfence();
#endif
}
// Nothing but loads, a KiB asked for early, eight sums: what this memory can be read with. It moves one way only, the triad both.
extern "C" double read_all(const double* a, long n, int threads) {
    double total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
#if defined(__AVX512F__)
        __m512d sums[8];
        for (auto& sum : sums) sum = _mm512_setzero_pd();
#pragma omp for schedule(static) nowait
        for (long i = 0; i < n; i += 64) {
#pragma GCC unroll 8
            for (long j = 0; j < 8; ++j) {
                _mm_prefetch(reinterpret_cast<const char*>(a + i + 8 * j) + 1024, _MM_HINT_NTA);
                sums[j] = _mm512_add_pd(sums[j], _mm512_load_pd(a + i + 8 * j));
            }
        }
        for (const auto& sum : sums) total += _mm512_reduce_add_pd(sum);
#else
        double sums[64] = {};
#pragma omp for schedule(static) nowait
        for (long i = 0; i < n; i += 64) {
            for (long j = 0; j < 64; j += 8) __builtin_prefetch(a + i + j + 128, 0, 0);
            for (long j = 0; j < 64; ++j) sums[j] += a[i + j];
        }
        for (const double sum : sums) total += sum;
#endif
    }
    return total;
}
extern "C" void naive_correlate(const float* x, long rows, long columns, const float* k, long size, float* out) {
    for (long i = 0; i + size <= rows; ++i)
        for (long j = 0; j + size <= columns; ++j) {
            float sum = 0;
            for (long u = 0; u < size; ++u)
                for (long v = 0; v < size; ++v) sum += x[(i + u) * columns + j + v] * k[u * size + v];
            out[i * (columns - size + 1) + j] = sum;
        }
}
"""


def cpp_peers():
    """The source as a ctypes library, compiled for exactly this CPU, or None."""
    with tempfile.TemporaryDirectory() as folder:
        file, library = Path(folder, "peers.cpp"), Path(folder, "peers.so")
        file.write_text(PEERS, encoding="utf-8")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O3", "-fopenmp", "-shared", "-fPIC", str(file)]
        command += ["-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"]
        try:
            subprocess.run([*command, "-o", str(library)], check=True, capture_output=True, text=True)
            peers = ctypes.CDLL(str(library))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"C++ peers: {getattr(error, 'stderr', error)}", file=sys.stderr)
            return None
    peers.triad.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
    peers.read_all.argtypes, peers.read_all.restype = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int], ctypes.c_double
    peers.triad.restype = peers.naive_correlate.restype = None
    peers.naive_correlate.argtypes = [
        ctypes.c_void_p,
        ctypes.c_long,
        ctypes.c_long,
        ctypes.c_void_p,
        ctypes.c_long,
        ctypes.c_void_p,
    ]
    return peers


def random(size, seed=1, dtype="float64"):
    return np.random.default_rng(seed).random(size).astype(dtype, copy=False)


def aligned(n):
    """n doubles that start on a cache line, written once."""
    return zc.add(np.ones(n), 0.0)


def warm_malloc():
    """glibc keeps memory after one large block was freed; without this NumPy's temporaries are all page faults."""
    np.ones(4_000_000)


def same_total(ours, theirs):
    """The triad has no answer; what only reads has the sum of all items (matvec_multiply: times a vector of ones)."""
    total = ours[0] if isinstance(ours, tuple) else np.sum(ours)
    return theirs is None or bool(np.isclose(total, theirs))


# ---- cases


def fused_cases():
    def numba_fused():
        if numba is None:
            return None

        @numba.njit(parallel=True)
        def fused(a, b, c, out):
            for i in numba.prange(a.size):
                out[i] = a[i] * b[i] + c[i] * 2 - 1
            return out

        return fused

    compiled = numba_fused()
    for n, goal in ((10_000, None), (100_000, None), (1_000_000, 3), (LARGE, 2.8)):
        a, b, c = (random(n, seed) for seed in (1, 2, 3))
        ours, theirs, second = np.empty(n), np.empty(n), np.empty(n)
        chain = zc.Chain(a).multiply(b).add(c, times=2.0).subtract(1.0)

        def out_chain(a=a, b=b, c=c, out=theirs, more=second):
            np.multiply(a, b, out=out)
            np.multiply(c, 2, out=more)
            np.add(out, more, out=out)
            return np.subtract(out, 1, out=out)

        peers = {
            "NumPy: a*b+c*2-1": lambda a=a, b=b, c=c: a * b + c * 2 - 1,
            "NumPy, out= everywhere": out_chain,
            "numexpr": numexpr and (lambda v={"a": a, "b": b, "c": c}, out=theirs: numexpr.evaluate("a*b+c*2-1", v, out=out)),
            "numba prange": compiled and (lambda a=a, b=b, c=c, out=theirs: compiled(a, b, c, out)),
            "Chain": lambda chain=chain, out=theirs: chain.run(out=out, num_threads=THREADS),
            "fused, one thread": lambda a=a, b=b, c=c, out=theirs: zc.fused(a, b, c, out=out, num_threads=1),
        }
        warm_malloc()
        check = np.allclose  # numba may fuse multiply and add
        first = "NumPy: a*b+c*2-1"
        yield bench.Case(
            "fused",
            "fused",
            n,
            "array",
            lambda a=a, b=b, c=c, out=ours: zc.fused(a, b, c, out=out, num_threads=THREADS),
            peers,
            check,
            goal and {first: goal},
            goal and {first: 3.5},
            THREADS,
        )


def picture_cases(library):
    ndimage, signal = (__import__(f"scipy.{name}", fromlist=["x"]) if scipy else None for name in ("ndimage", "signal"))
    rows, columns = 720, 1280
    image = random((rows, columns), 4, "float32")
    for size in (3, 5, 9, 15, 41):
        kernel = random((size, size), 5, "float32")
        shape = rows - size + 1, columns - size + 1
        ours, naive = np.empty(shape, np.float32), np.empty(shape, np.float32)
        cut = size // 2

        def shifted(kernel=kernel, shape=shape):
            total = np.zeros(shape, np.float32)
            for (i, j), weight in np.ndenumerate(kernel):
                total += weight * image[i : i + shape[0], j : j + shape[1]]
            return total

        def plain(kernel=kernel, size=size, out=naive):
            library.naive_correlate(image.ctypes.data, rows, columns, kernel.ctypes.data, size, out.ctypes.data)
            return out

        peers = {
            "NumPy, shifted adds": shifted,
            "scipy.ndimage.correlate": scipy
            and (lambda k=kernel, c=cut: ndimage.correlate(image, k, mode="constant")[c : rows - c, c : columns - c]),
            "scipy.signal.convolve2d": scipy and (lambda k=kernel: signal.convolve2d(image, k[::-1, ::-1], mode="valid")),
            "scipy.signal.fftconvolve": scipy and (lambda k=kernel: signal.fftconvolve(image, k[::-1, ::-1], mode="valid")),
            "plain C++ loops, -march=native": library and plain,
        }
        if size > 15:  # where the FFT comes in; the others take seconds there
            peers = {name: peers[name] for name in peers if "fft" in name}
        goals = {"NumPy, shifted adds": 5, "scipy.ndimage.correlate": 7, "scipy.signal.convolve2d": 20}
        aims = {"NumPy, shifted adds": 6.5, "scipy.ndimage.correlate": 10, "scipy.signal.convolve2d": 37}
        yield bench.Case(
            "correlate2d",
            f"{size} x {size} float32",
            f"{columns} x {rows}",
            "array",
            lambda k=kernel, out=ours: zc.correlate2d(image, k, out=out, num_threads=1),
            peers,
            lambda a, b: np.allclose(a, b, rtol=1e-3),
            goals if size == 3 else None,
            aims if size == 3 else None,
            1,
        )
    pooled, theirs = np.empty((rows // 2, columns // 2), np.float32), np.empty((rows // 2, columns // 2), np.float32)
    yield bench.Case(
        "pictures",
        "max_pool2d 2",
        f"{columns} x {rows}",
        "array",
        lambda: zc.max_pool2d(image, 2, out=pooled, num_threads=1),
        {
            "NumPy, reshape and max": lambda: image.reshape(rows // 2, 2, columns // 2, 2).max((1, 3)),
            "NumPy, maximum of slices": lambda: np.maximum(
                np.maximum(image[::2, ::2], image[1::2, ::2]), np.maximum(image[::2, 1::2], image[1::2, 1::2]), out=theirs
            ),
        },
        np.array_equal,
        threads=1,
    )
    turned, other = np.empty((columns, rows), np.float32), np.empty((columns, rows), np.float32)
    yield bench.Case(
        "pictures",
        "transpose",
        f"{columns} x {rows}",
        "array",
        lambda: zc.transpose(image, out=turned, num_threads=1),
        {"NumPy, out[...] = image.T": lambda: np.copyto(other, image.T) or other},
        np.array_equal,
        threads=1,
    )
    normal, their_normal = np.empty_like(image), np.empty_like(image)
    yield bench.Case(
        "pictures",
        "normalize",
        f"{columns} x {rows}",
        "array",
        lambda: zc.normalize(image, out=normal, num_threads=1),
        {
            "NumPy, (x - mean) / std": lambda: np.divide(
                np.subtract(image, image.mean(), out=their_normal), image.std(), out=their_normal
            )
        },
        lambda a, b: np.allclose(a, b, rtol=1e-3, atol=1e-4),
        threads=1,
    )


def level_cases():
    """The same kernels, forced down: what one compilation per instruction set is worth."""
    image, kernel = random((720, 1280), 4, "float32"), random((3, 3), 5, "float32")
    a, b, c = (random(10_000, seed) for seed in (1, 2, 3))
    x = random((300, 300), 6)
    row, product, filtered = np.empty(10_000), np.empty((300, 300)), np.empty((718, 1278), np.float32)
    work = {  # and how often, so that choosing a level, which asks the CPU, does not count
        "correlate2d 3 x 3 float32": (10, lambda: zc.correlate2d(image, kernel, out=filtered, num_threads=1)),
        "fused, in cache": (500, lambda: zc.fused(a, b, c, out=row, num_threads=1)),
        "matmul_simd 300 x 300": (2, lambda: zc.matmul_simd(x, x, out=product)),
        "sum_nocopy, in cache": (1000, lambda: zc.sum_nocopy(a, num_threads=1)),
    }
    levels = zc.simd_info()["usable"]

    def at(level, times, call):
        def run():
            zc.force_simd(level)
            for _ in range(times):
                result = call()
            zc.force_simd(None)
            return result

        return run

    for name, (times, call) in work.items():
        peers = {level: at(level, times, call) for level in levels[:-1]}
        ours = at(levels[-1], times, call)
        yield bench.Case("levels", name, levels[-1], "array", ours, peers, np.allclose, threads=1, note=f"{times} calls")


def product_cases():
    for rows, columns in ((300, 300), (1000, 1000), (4000, 4000)):
        matrix, vector = random((rows, columns), 7), random(columns, 8)
        ours, theirs = np.empty(rows), np.empty(rows)
        peer = "OpenBLAS, one thread"
        yield bench.Case(
            "matvec",
            "matvec_multiply",
            f"{rows} x {columns}",
            "array",
            lambda m=matrix, v=vector, out=ours: zc.matvec_multiply(m, v, out=out, num_threads=1),
            {peer: lambda m=matrix, v=vector, out=theirs: np.matmul(m, v, out=out)},
            bench.close(1e-9),
            {peer: 1.0},
            {peer: 1.19},
            1,
        )
    n = 500
    a, b, out = random((n, n), 9), random((n, n), 10), np.empty((n, n))
    stages = {
        "matmul_simd": lambda: zc.matmul_simd(a, b, out=out),
        "matmul_blocked": lambda: zc.matmul_blocked(a, b, out=out),
        "matmul_naive": lambda: zc.matmul_naive(a, b, out=out),
        "NumPy, OpenBLAS, one thread": lambda: np.matmul(a, b, out=out),
    }
    ours = lambda: zc.matmul_threaded(a, b, out=out, num_threads=THREADS)  # noqa: E731
    yield bench.Case("matmul", "matmul_threaded", f"{n} x {n}", "array", ours, stages, np.allclose, threads=THREADS)


def bandwidth_cases(library):
    """Past the last-level cache, against a triad of the same run that moves as many bytes: the ratio is the fraction. What only
    reads is also held against a loop that does nothing but read: whether that reaches the triad is the memory's affair.
    """
    if library is None:
        return
    a, b, c, out = (aligned(LARGE) for _ in range(4))
    matrix, line = out.reshape(4000, 4000), aligned(4000)
    turned = c.reshape(4000, 4000)
    rows = np.empty(4000)
    work = {  # kernel: bytes that must move for each item
        "fused, out=": (32, lambda t: zc.fused(a, b, c, out=out, num_threads=t)),
        "add, out=": (24, lambda t: zc.add(a, b, out=out, num_threads=t)),
        "multiply, a new array": (24, lambda t: zc.multiply(a, b, num_threads=t)),
        "scale_inplace": (16, lambda t: zc.scale_inplace(a, 1.0, num_threads=t)),
        "process_slice_inplace": (16, lambda t: zc.process_slice_inplace(a, num_threads=t)),
        "sum_nocopy": (8, lambda t: zc.sum_nocopy(a, num_threads=t)),
        "parallel_reduce_nocopy": (8, lambda t: zc.parallel_reduce_nocopy(a, num_threads=t)),
        "matvec_multiply": (8, lambda t: zc.matvec_multiply(matrix, line, out=rows, num_threads=t)),
        "transpose": (16, lambda t: zc.transpose(matrix, out=turned, num_threads=t)),
        "(the loop that only reads)": (8, lambda t: library.read_all(a.ctypes.data, LARGE, t)),
    }
    triad, reading = "non-temporal triad, as many bytes", "a loop that only reads"
    notes = {
        "multiply, a new array": "page faults of a new array",
        "transpose": "not a stream",
        "(the loop that only reads)": "the most that reading can reach",
    }
    x, y, z = (aligned(LARGE * 32 // 24 + 8) for _ in range(3))
    for threads in dict.fromkeys((1, THREADS)):
        for name, (width, call) in work.items():
            n = LARGE * width // 24 // 8 * 8
            peers = {triad: lambda n=n, t=threads: library.triad(x.ctypes.data, y.ctypes.data, z.ctypes.data, n, t)}
            goals = {triad: 0.9}
            if width == 8 and name not in notes:
                source = out if name == "matvec_multiply" else a
                peers[reading] = lambda source=source, t=threads: library.read_all(source.ctypes.data, LARGE, t)
                goals[reading] = 0.95
            yield bench.Case(
                "bandwidth",
                name,
                LARGE,
                "array",
                lambda call=call, t=threads: call(t),
                peers,
                same_total,
                goals if name not in notes else None,
                threads=threads,
                note=notes.get(name, ""),
            )


def elementwise_cases():
    for n in (10, 1_000, 100_000, 1_000_000):
        a, b = random(n, 11), random(n, 12) + 0.5
        ours, theirs = np.empty(n), np.empty(n)
        for name in ("add", "divide"):
            call, ufunc = getattr(zc, name), getattr(np, name)
            yield bench.Case(
                "elementwise",
                name,
                n,
                "array",
                lambda call=call, a=a, b=b, out=ours: call(a, b, out=out, num_threads=THREADS),
                {f"np.{name}, out=": lambda ufunc=ufunc, a=a, b=b, out=theirs: ufunc(a, b, out=out)},
                np.array_equal,
                threads=THREADS,
            )


def contract_cases():
    n = 10**6
    ones = np.copysign(1.0, random(n, 13) - 0.5)  # squares of squares of anything else would leave the range
    numbers, other, values = ones.tolist(), ones.copy(), random(n, 14)
    as_list = values.tolist()
    matrix = random((300, 300), 15)
    rows, vector = matrix.tolist(), matrix[0].tolist()
    table = [
        (
            "process_slice_inplace",
            "array",
            lambda: zc.process_slice_inplace(ones, num_threads=THREADS),
            {"np.square, out=": lambda: np.square(other, out=other)},
        ),
        ("sum_nocopy", "array", lambda: zc.sum_nocopy(values, num_threads=THREADS), {"np.sum": lambda: float(np.sum(values))}),
        (
            "parallel_reduce_nocopy",
            "array",
            lambda: zc.parallel_reduce_nocopy(values, num_threads=THREADS),
            {"np.sum, np.min, np.max": lambda: (float(values.sum()), float(values.min()), float(values.max()), values.size)},
        ),
        (
            "process_slice_inplace",
            "list",
            lambda: zc.process_slice_inplace(numbers, num_threads=THREADS),
            {"[x * x for x in data]": lambda: [x * x for x in numbers]},
        ),
        ("sum_nocopy", "list", lambda: zc.sum_nocopy(as_list, num_threads=THREADS), {"sum": lambda: sum(as_list)}),
        (
            "matvec_multiply, 300 x 300",
            "list",
            lambda: zc.matvec_multiply(rows, vector, num_threads=THREADS),
            {"[sum(map(mul, row, vector)) ...]": lambda: [sum(x * y for x, y in zip(row, vector)) for row in rows]},
        ),
    ]
    for name, container, ours, peers in table:
        size = 90_000 if "matvec" in name else n
        yield bench.Case("contract", name, size, container, ours, peers, bench.close(1e-9), threads=THREADS)


def crossing_cases():
    """What it costs to hand ten million numbers over, when nothing is copied, and when they are."""
    values = random(10_000_000, 16)
    yield bench.Case(
        "crossing",
        "View, and NumPy again",
        values.size,
        "array",
        lambda: np.asarray(zc.View(values)).ctypes.data,
        {
            "through DLPack": lambda: np.from_dlpack(zc.View(values)).ctypes.data,
            "a copy": lambda: (values.copy(), values.ctypes.data)[1],
        },
    )
    pyarrow = bench.optional("pyarrow")
    if pyarrow is not None:
        yield bench.Case(
            "crossing",
            "to Arrow and back",
            values.size,
            "array",
            lambda: zc.View(pyarrow.array(zc.View(values))).address,
            {
                "pyarrow.array(numpy), to_numpy": lambda: pyarrow.array(values).to_numpy().ctypes.data,
                "nothing but the View": lambda: zc.View(values).address,
            },
        )


def cases():
    only = OPTIONS[OPTIONS.index("--only") + 1] if "--only" in OPTIONS else ""
    library = cpp_peers()
    if numexpr is not None:
        numexpr.set_num_threads(THREADS)
    if numba is not None:
        numba.set_num_threads(THREADS)
    for names, make in (
        ("fused", fused_cases),
        ("correlate2d float32 pictures max_pool2d transpose normalize", lambda: picture_cases(library)),
        ("matvec matmul", product_cases),
        ("bandwidth fused add multiply scale_inplace sum_nocopy transpose", lambda: bandwidth_cases(library)),
        ("elementwise add divide", elementwise_cases),
        ("contract process_slice_inplace sum_nocopy", contract_cases),
        ("levels correlate2d fused matmul_simd sum_nocopy", level_cases),
        ("crossing View Arrow", crossing_cases),
    ):
        if only in names:  # otherwise its data need not be made
            yield from make()


# ---- pictures


def plot(results, folder):
    if np is None or bench.optional("matplotlib") is None or bench.optional("pywt") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    example = runpy.run_path(str(HERE.parent / "test_example.py"))
    image = example["photograph"]()
    results = {"as it was": image, **example["filtered"](image)}
    figure, all_axes = pyplot.subplots(2, 2, figsize=(8, 3.5), layout="constrained")
    titles = {
        "as it was": "photograph, 512 x 190",
        "blurred": "correlate2d with a bell of 5 x 5",
        "edges": "two Sobel filters, then a chain: square, add, sqrt",
        "pooled": "max_pool2d of 4",
    }
    for axes, (name, part) in zip(all_axes.flat, results.items()):
        axes.imshow(part, cmap="gray", vmax=float(np.quantile(part, 0.995)), aspect="equal", interpolation="nearest")
        axes.set_title(titles[name], loc="left", fontsize=9)
        axes.set_axis_off()
    figure.savefig(folder / "photograph.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(cases(), HERE / "results.json", "Zero copy", plot=plot))
