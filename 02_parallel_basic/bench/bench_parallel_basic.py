"""Lesson 02's tables: every function against what a reader would use instead, on lists and on arrays apart.

`--plot DIR` draws the page's pictures as well: the Mandelbrot set, and which thread computed which of its rows when.
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from itertools import accumulate, chain
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing"))

import parallel_basic as pb  # noqa: E402
import tenfold_bench as bench  # noqa: E402
from performance_timing import _core as timing  # noqa: E402

np = bench.optional("numpy")
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
OPTIONS = sys.argv[1:]
PICTURE = (-2.0, 0.7, -0.12, 1.25)
"""The page's picture: not symmetric, so that its first rows cost far more than its last."""

# ---- peers in C++: what a compiler makes of plain OpenMP for exactly this CPU, and two probes of what the machine can do

PEERS = r"""
#include <cstdint>
typedef double lanes __attribute__((vector_size(64)));

extern "C" double omp_sum(const double* a, long n) {
    double sum = 0;
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (long i = 0; i < n; ++i) sum += a[i];
    return sum;
}
extern "C" std::uint64_t read_probe(const std::uint64_t* a, long n) {  // reads everything, computes next to nothing
    std::uint64_t bits = 0;
#pragma omp parallel for simd reduction(| : bits) schedule(static)
    for (long i = 0; i < n; ++i) bits |= a[i];
    return bits;
}
extern "C" double fma_probe(long multiply_adds) {  // nothing but multiply-adds in registers, on all threads
    double result = 0;
#pragma omp parallel reduction(+ : result)
    {
        lanes a[12], x = lanes{} + 0.999, y = lanes{} + 1e-3;
        for (int k = 0; k < 12; ++k) a[k] = lanes{} + k;  // different, or the compiler makes one chain of them
#pragma omp for schedule(static)
        for (long i = 0; i < multiply_adds / 96; ++i) {
#pragma GCC unroll 12
            for (auto& v : a) v = v * x + y;
        }
        for (auto& v : a) result += v[0];
    }
    return result;
}
"""

# Which thread computed which row when: the lesson's own loop and kernel, with a clock around each row.
TIMELINE = r"""
#include <chrono>
#include "tenfold/mandelbrot.hpp"
using namespace tenfold;

extern "C" void record(const double* c, long width, long height, long steps, int threads, int how, double* times, int* who) {
    std::vector<std::uint32_t> out(static_cast<std::size_t>(width * height));
    const auto now = [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); };
    const auto start = now();
    parallel_chunks(static_cast<std::size_t>(height), 1, threads, [&](std::size_t row, std::size_t) {
        const double ci = c[2] + static_cast<double>(row) / static_cast<double>(height) * (c[3] - c[2]);
        who[row] = omp_get_thread_num();
        times[2 * row] = now() - start;
        const auto w = static_cast<std::size_t>(width);
        parallel_mandelbrot({c[0], c[1], ci, ci}, w, 1, static_cast<std::uint32_t>(steps), std::span(out).subspan(row * w, w), 1);
        times[2 * row + 1] = now() - start;
    }, never_stop{}, {.how = static_cast<schedule>(how)});
}
"""


def compiled(source: str, *flags: str):
    """The C++ source as a ctypes library, or None when it does not compile here."""
    with tempfile.TemporaryDirectory() as folder:
        file, library = Path(folder, "peers.cpp"), Path(folder, "peers.so")
        file.write_text("#include <vector>\n" + source, encoding="utf-8")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O3", "-fopenmp", "-shared", "-fPIC", str(file), *flags]
        try:
            subprocess.run([*command, "-o", str(library)], check=True, capture_output=True, text=True)
            return ctypes.CDLL(str(library))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"C++ peers: {getattr(error, 'stderr', error)}", file=sys.stderr)
            return None


def cpp_peers():
    library = compiled(PEERS, "-march=native", "-ffp-contract=fast")
    if library:
        library.omp_sum.argtypes = library.read_probe.argtypes = [ctypes.c_void_p, ctypes.c_long]
        library.omp_sum.restype = library.fma_probe.restype = ctypes.c_double
        library.fma_probe.argtypes = [ctypes.c_long]
    return library


def numba_peers():
    numba = bench.optional("numba")
    if numba is None:
        return None, None

    @numba.njit(parallel=True, fastmath=True)
    def total(a):
        result = 0.0
        for i in numba.prange(a.size):
            result += a[i]
        return result

    @numba.njit(parallel=True)
    def mandelbrot(width, height, x_min, x_max, y_min, y_max, max_iter, out):
        for row in numba.prange(height):
            ci = y_min + row / height * (y_max - y_min)
            for column in range(width):
                cr = x_min + column / width * (x_max - x_min)
                zr = zi = 0.0
                steps = 0
                while steps < max_iter and zr * zr + zi * zi <= 4.0:
                    zr, zi = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci
                    steps += 1
                out[row, column] = steps
        return out

    return total, mandelbrot


# ---- cases


def list_cases():
    n = 10**6
    rng = random.Random(2)
    numbers = [rng.uniform(-1e3, 1e3) for _ in range(n)]
    ints = [rng.randrange(-(10**6), 10**6) for _ in range(n)]
    squares, evens, ordered = [x * x for x in numbers], [i for i in ints if i % 2 == 0], sorted(numbers)
    floor = "only making the result's objects"

    def objects(values):
        """The same list from memory that is ready: what no function that returns a list can beat."""
        array = np.array(values)
        return lambda: array.tolist()

    def both_ways(values, back, result):
        make = objects(result) if result else lambda: None
        return lambda: (back(values, False), make())

    floats, whole = timing._copy_floats, timing._copy_ints
    table = [
        ("parallel_sum", lambda: pb.parallel_sum(numbers), {"sum": lambda: sum(numbers)}, 2, (numbers, floats, None)),
        ("parallel_max", lambda: pb.parallel_max(numbers), {"max": lambda: max(numbers)}, 2, (numbers, floats, None)),
        (
            "parallel_square",
            lambda: pb.parallel_square(numbers),
            {"[x * x for x in numbers]": lambda: [x * x for x in numbers], floor: objects(squares)},
            2,
            (numbers, floats, squares),
        ),
        (
            "parallel_filter_even",
            lambda: pb.parallel_filter_even(ints),
            {"[n for n in ints if n % 2 == 0]": lambda: [n for n in ints if n % 2 == 0], floor: objects(evens)},
            2,
            (ints, whole, evens),
        ),
        (
            "parallel_sort",
            lambda: pb.parallel_sort(numbers),
            {"sorted": lambda: sorted(numbers), floor: objects(ordered)},
            3,
            (numbers, floats, ordered),
        ),
    ]
    for name, ours, peers, at_least, crossing in table:
        check = bench.close(1e-9) if name == "parallel_sum" else bench.equal
        convert = both_ways(*crossing)
        yield bench.Case("lists", name, n, "list", ours, peers, check, at_least, None, THREADS, convert=convert)


def boundary_cases():
    """What every lesson's boundary.hpp costs; its bench lives with its tests."""
    sys.path.insert(0, str(HERE.parents[1] / "scripts" / "testing" / "boundary"))
    try:
        import bench_boundary
    except ImportError:
        print("no boundary table: build the target boundary_probe first (./scripts/bench does)", file=sys.stderr)
        return
    yield from bench_boundary.cases()


def sum_cases(library, numba_sum):
    for n in (100_000, 1_000_000, 16_000_000):
        a = np.random.default_rng(3).random(n)
        peers = {
            "np.sum": lambda a=a: float(np.sum(a)),
            "numba prange, fastmath": numba_sum and (lambda a=a: numba_sum(a)),
            "plain OpenMP, -march=native": library and (lambda a=a, n=n: library.omp_sum(a.ctypes.data, n)),
        }
        goals = {"np.sum": 2.5, "numba prange, fastmath": 0.95, "plain OpenMP, -march=native": 0.95}
        aims = {}
        if library:
            expected = pb.parallel_sum(a)
            peers["read-bandwidth probe"] = lambda a=a, n=n, e=expected: (library.read_probe(a.ctypes.data, n), e)[1]
            aims["read-bandwidth probe"] = 0.95
        yield bench.Case(
            "sums", "parallel_sum", n, "array", lambda a=a: pb.parallel_sum(a), peers, bench.close(1e-9), goals, aims, THREADS
        )
        del a


def small_cases(library):
    """A region costs microseconds: below some size the caller alone is faster, so the library does not open one there."""
    for n in (100, 1_000, 10_000, 100_000):
        a = np.random.default_rng(4).random(n)
        peers = {
            "same, one thread": lambda a=a: pb.parallel_sum(a, num_threads=1),
            "plain OpenMP region": library and (lambda a=a, n=n: library.omp_sum(a.ctypes.data, n)),
            "np.sum": lambda a=a: float(np.sum(a)),
        }
        ours = lambda a=a: pb.parallel_sum(a)  # noqa: E731
        yield bench.Case("small", "parallel_sum", n, "array", ours, peers, bench.close(1e-9), threads=THREADS)


def filter_cases():
    for n in (100_000, 1_000_000, 16_000_000):
        a = np.random.default_rng(5).integers(-(10**9), 10**9, n)
        mask = a % 2 == 0
        peers = {
            "a[a % 2 == 0]": lambda a=a: a[a % 2 == 0],
            "a[(a & 1) == 0]": lambda a=a: a[(a & 1) == 0],
            "a[mask], mask ready": lambda a=a, mask=mask: a[mask],
        }
        goals = {"a[a % 2 == 0]": 15, "a[mask], mask ready": 15}
        aims = {"a[a % 2 == 0]": 34, "a[mask], mask ready": 34}
        ours = lambda a=a: pb.parallel_filter_even(a)  # noqa: E731
        yield bench.Case("filter", "parallel_filter_even", n, "array", ours, peers, np.array_equal, goals, aims, THREADS)


def sort_cases():
    for n in (100_000, 1_000_000):
        a = np.random.default_rng(6).standard_normal(n)
        peers = {"np.sort": lambda a=a: np.sort(a)}
        ours = lambda a=a: pb.parallel_sort(a)  # noqa: E731
        yield bench.Case("sort", "parallel_sort", n, "array", ours, peers, np.array_equal, threads=THREADS)


def python_mandelbrot(width, height, x_min, x_max, y_min, y_max, max_iter):
    """The page's first block."""
    picture = []
    for row in range(height):
        ci = y_min + row / height * (y_max - y_min)
        picture.append([])
        for column in range(width):
            cr = x_min + column / width * (x_max - x_min)
            zr = zi = 0.0
            steps = 0
            while steps < max_iter and zr * zr + zi * zi <= 4.0:
                zr, zi, steps = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci, steps + 1
            picture[-1].append(steps)
    return picture


def mandelbrot_cases(numba_mandelbrot):
    small = (120, 90, *PICTURE, 200)
    ours = lambda: pb.parallel_mandelbrot(*small)  # noqa: E731
    peers = {"plain Python": lambda: python_mandelbrot(*small)}
    yield bench.Case("mandelbrot", "parallel_mandelbrot", "120 x 90, 200 steps", "list", ours, peers, threads=THREADS)
    place, steps, n = (-2.5, 1.0, -1.0, 1.0), 1000, 512
    out, theirs = np.empty((n, n), np.uint32), np.empty((n, n), np.uint32)

    def nearly(a, b):  # a compiler that fuses multiply and add counts differently on the set's border
        return np.mean(a != b) < 1e-3

    def ours(how="dynamic"):
        return pb.parallel_mandelbrot(n, n, *place, steps, out=out, schedule=how)

    peers = {
        "numba prange": numba_mandelbrot and (lambda: numba_mandelbrot(n, n, *place, steps, theirs)),
        "same, one thread": lambda: pb.parallel_mandelbrot(n, n, *place, steps, out=theirs, num_threads=1),
    }
    yield bench.Case(
        "mandelbrot", "parallel_mandelbrot", "512 x 512, 1000 steps", "array", ours, peers, nearly, 12, 17, THREADS
    )

    # Uneven rows: static shares leave one thread idle.
    def picture(how, grain=1):
        return lambda: pb.parallel_mandelbrot(n, n, *PICTURE, steps, out=out, schedule=how, grain=grain).sum()

    peers = {"static": picture("static"), "guided": picture("guided"), "dynamic, 64 rows at once": picture("dynamic", 64)}
    yield bench.Case("schedules", "dynamic", "512 x 512, 1000 steps", "array", picture("dynamic"), peers, threads=THREADS)


def blas_kernel() -> str:
    """The name of the kernel that OpenBLAS chose for this CPU: it says so when asked to."""
    env = dict(os.environ, OPENBLAS_VERBOSE="2")
    done = subprocess.run([sys.executable, "-c", "import numpy"], env=env, capture_output=True, text=True)
    found = [line.split(":")[1].strip() for line in (done.stderr + done.stdout).splitlines() if line.startswith("Core:")]
    return found[0] if found else "unknown kernel"


PRODUCTS = """
import sys
import numpy as np
who, n = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(7)
a, b, out = rng.random((n, n)), rng.random((n, n)), np.empty((n, n))
if who == "ours":
    import parallel_basic as pb
    product = lambda: pb.parallel_matrix_multiply(a, b, out=out)
else:
    product = lambda: np.matmul(a, b, out=out)
for line in sys.stdin:
    for _ in range(int(line)):
        product()
    print(repr(float(out.sum())), flush=True)
"""


class Products:
    """Products of two n x n matrices in a process of their own: OpenBLAS's threads and OpenMP's wait by spinning, each on
    the core that the other needs next."""

    def __init__(self, who: str, n: int) -> None:
        self.times = max(1, 10**9 // n**3)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRODUCTS, who, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self) -> float:
        self.process.stdin.write(f"{self.times}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def matmul_cases(library):
    kernel = f"NumPy, OpenBLAS ({blas_kernel()})"
    for n in (240, 480, 960, 1920):
        ours, theirs = Products("ours", n), Products("numpy", n)
        peers = {kernel: theirs}
        aims = {kernel: 1.23}
        if library:
            peers["FMA probe, as many multiply-adds"] = lambda n=n, k=ours.times: (library.fma_probe(k * n**3), None)[1]
            aims["FMA probe, as many multiply-adds"] = 0.85
        size = f"{n} x {n}"
        note = f"{ours.times} products" if ours.times > 1 else ""
        yield bench.Case(
            "matmul",
            "parallel_matrix_multiply",
            size,
            "array",
            ours,
            peers,
            lambda x, y: y is None or np.isclose(x, y, rtol=1e-10),
            {kernel: 1.0},
            aims,
            THREADS,
            note,
            pause=0.15,
        )


def library_sources(limit: int = 8_000_000) -> list[str]:
    """The installed standard library as text, up to so many characters."""
    folder = Path(sysconfig.get_path("stdlib"))
    documents, size = [], 0
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" in path.parts or size > limit:
            continue
        documents.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(documents[-1])
    return documents


def zipf_documents(words: int = 1_000_000) -> list[str]:
    """Text as natural as numbers make it: the k-th word of 50,000 occurs about 1/k as often as the first."""
    rng = random.Random(8)
    lengths = [1 + min(14, int(rng.expovariate(0.2))) for _ in range(50_000)]
    vocabulary = ["".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=length)) for length in lengths]
    text = rng.choices(vocabulary, cum_weights=list(accumulate(1 / (k + 1) for k in range(50_000))), k=words)
    return [" ".join(text[i : i + 500]) for i in range(0, words, 500)]


def only_the_dict(documents):
    """The same dict from distinct words and counts that are ready: what no function that returns it can beat."""
    found = pb.parallel_word_frequencies(documents)
    raw, counts = [word.encode() for word in found], list(found.values())
    return lambda: dict(zip(map(bytes.decode, raw), counts))


def word_cases():
    for name, documents in (("standard library", library_sources()), ("Zipf text", zipf_documents())):
        size = f"{name}, {len(documents)} texts, {sum(map(len, documents)) / 1e6:.1f} MB"
        yield bench.Case(
            "words",
            "parallel_word_count",
            size,
            "list",
            lambda d=documents: pb.parallel_word_count(d),
            {"[len(d.split()) for d in documents]": lambda d=documents: [len(text.split()) for text in d]},
            at_least=6,
            aim=8,
            threads=THREADS,
        )
        yield bench.Case(
            "words",
            "parallel_word_frequencies",
            size,
            "list",
            lambda d=documents: pb.parallel_word_frequencies(d),
            {
                "Counter over split()": lambda d=documents: Counter(chain.from_iterable(map(str.split, d))),
                "only making the dict and its words": only_the_dict(documents),
            },
            at_least=6,
            aim=8,
            threads=THREADS,
        )


def store_cases():
    for n in (100_000, 1_000_000, 16_000_000):
        rng = np.random.default_rng(9)
        x, y, out = rng.random(n), rng.random(n), np.empty(n)

        def square(stores, x=x, out=out):
            return lambda: pb.parallel_square(x, out=out, stores=stores)

        def saxpy(stores, x=x, y=y, out=out):
            return lambda: pb.parallel_saxpy(2.0, x, y, out=out, stores=stores)

        for name, ours, theirs in (
            ("parallel_square", square, ("np.multiply", lambda x=x, out=out: np.multiply(x, x, out=out))),
            ("parallel_saxpy", saxpy, ("np.add(2 * x, y)", lambda x=x, y=y, out=out: np.add(2.0 * x, y, out=out))),
        ):
            peers = {theirs[0]: theirs[1], "plain stores": ours("plain"), "non-temporal stores": ours("nontemporal")}
            yield bench.Case("stores", name, n, "array", ours("auto"), peers, np.array_equal, threads=THREADS)


def cases():
    if np is None:
        raise SystemExit("this bench compares with NumPy: install numpy")
    library, (numba_sum, numba_mandelbrot) = cpp_peers(), numba_peers()
    only = OPTIONS[OPTIONS.index("--only") + 1] if "--only" in OPTIONS[:-1] else ""
    for names, make in (
        ("boundary list", boundary_cases),
        ("lists parallel_sum parallel_max parallel_square parallel_filter_even parallel_sort", list_cases),
        ("sums parallel_sum", lambda: sum_cases(library, numba_sum)),
        ("small parallel_sum", lambda: small_cases(library)),
        ("filter parallel_filter_even", filter_cases),
        ("sort parallel_sort", sort_cases),
        ("mandelbrot schedules parallel_mandelbrot dynamic", lambda: mandelbrot_cases(numba_mandelbrot)),
        ("matmul parallel_matrix_multiply", lambda: matmul_cases(library)),
        ("words parallel_word_count parallel_word_frequencies", word_cases),
        ("stores parallel_square parallel_saxpy", store_cases),
    ):
        if only in names:  # otherwise its data need not be made
            yield from make()


# ---- tables that are no comparisons


def tables(quick):
    """np.sort again in a process whose NumPy does without AVX-512: where it has no vector sort for this CPU's, that is faster.

    This is the peer with the goal; ours keeps AVX-512.
    """
    try:
        from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatch
        from numpy._core._multiarray_umath import __cpu_features__ as has
    except ImportError:
        return {}
    wide = [name for name in dispatch if name.startswith(("X86_V4", "AVX512")) and has.get(name)]
    if not wide or os.environ.get("NPY_DISABLE_CPU_FEATURES") or ("--only" in OPTIONS and "sort" not in OPTIONS):
        return {}
    env = dict(os.environ, NPY_DISABLE_CPU_FEATURES=" ".join(wide))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sort.json")
        words = [sys.executable, __file__, "--only", "sort", "--json", str(file), *(["--quick"] if quick else [])]
        if subprocess.run(words, env=env, stdout=subprocess.DEVNULL).returncode:
            return {}
        rows = [row for row in json.loads(file.read_text(encoding="utf-8"))["rows"] if row["group"] == "sort"]
    lines = []
    for row in rows:
        for peer in row["peers"]:
            ratio = f"{peer['ratio']:.3g}× [{peer['low']:.3g} .. {peer['high']:.3g}]"
            verdict = "met" if peer["ratio"] >= 1.4 else "MISSED"
            times = bench.seconds(row["ours_s"]), bench.seconds(peer["seconds"])
            lines.append([f"{row['size']:,}", *times, ratio, "1.4×", "1.6×", verdict])
    columns = ["size", "parallel_sort", "np.sort without AVX-512", "ratio", "at least", "aim", ""]
    return {"sort_without_avx512": {"columns": columns, "rows": lines}}


# ---- pictures


def plot(results, folder):
    if np is None or bench.optional("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    width, height = 800, 406
    counts = pb.parallel_mandelbrot(width, height, *PICTURE, 400, out=np.empty((height, width), np.uint32))
    shade = np.where(counts == 400, np.nan, np.log(counts + 1.0))
    colours = pyplot.get_cmap("twilight_shifted").with_extremes(bad="black")
    pyplot.imsave(folder / "mandelbrot.png", np.ma.masked_invalid(shade), cmap=colours, metadata={"Software": None})

    flags = (f"-I{HERE.parent / 'include'}", "-ffp-contract=off", "-lhwy")
    library = compiled(TIMELINE, *flags)
    if library is None:
        return
    rows, team = 203, 2
    figure, all_axes = pyplot.subplots(2, 1, figsize=(8, 3.4), sharex=True, layout="constrained")
    runs = {}
    for how, name in ((0, "static"), (1, "dynamic")):
        best = None
        for _ in range(60):  # the run that the rest of the machine disturbed least
            times, who = (ctypes.c_double * (2 * rows))(), (ctypes.c_int * rows)()
            size = (ctypes.c_long(4 * width), ctypes.c_long(rows), ctypes.c_long(1000))
            library.record((ctypes.c_double * 4)(*PICTURE), *size, team, how, times, who)
            if best is None or max(times) < max(best[0]):
                best = (list(times), list(who))
        runs[name] = best
    for axes, (name, (times, who)) in zip(all_axes, runs.items()):
        end = max(times) * 1e3
        for thread in range(team):
            mine = [row for row in range(rows) if who[row] == thread]
            bars = [(times[2 * row] * 1e3, (times[2 * row + 1] - times[2 * row]) * 1e3) for row in mine]
            axes.broken_barh(bars, (team - thread - 1.4, 0.8), color=[pyplot.cm.viridis(row / rows) for row in mine])
            last = max(begin + length for begin, length in bars)
            if end - last > 0.02 * end:
                place = (team - thread - 1.4, 0.8)
                axes.broken_barh([(last, end - last)], place, facecolor="none", edgecolor="#999", hatch="///")
        axes.set_yticks(range(team), [f"thread {team - i - 1}" for i in range(team)])
        axes.set_title(f"{name}: {end:.1f} ms", loc="left", fontsize=10)
    all_axes[1].set_xlabel("milliseconds since the region began; colour: row (dark: first), hatched: waiting for the other")
    figure.savefig(folder / "schedules.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(bench.run(cases(), HERE / "results.json", "Parallel basics", plot=plot, tables=tables))
