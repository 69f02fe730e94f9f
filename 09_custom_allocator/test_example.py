"""Lesson 09 - memory that is used again. `python test_example.py` tells the story; `pytest test_example.py` checks it."""

import json
import os
import subprocess
import sys
import sysconfig
import time
import warnings
import zlib
from pathlib import Path

import custom_allocator as ca
import numpy as np

COUNTS = sys.platform.startswith("linux")  # where a module can have an operator new of its own, and /proc tells the peak


def library_files(most: int = 2000) -> list[Path]:
    """The sources of this Python's standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    return [path for path in sorted(folder.rglob("*.py")) if "site-packages" not in path.parts][:most]


def line_lengths(files: list[Path]) -> list[list[float]]:
    """A row for each file, a number for each line: rows of very different length, as data has them."""
    return [[float(len(line)) for line in path.read_bytes().splitlines()] for path in files]


def best_of(function, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def checksums(files: list[Path], get, give_back) -> list[int]:
    """The checksum of each file, read into memory that `get(size)` returns."""
    sums = []
    for path in files:
        with path.open("rb", buffering=0) as file:
            memory = get(max(1, os.fstat(file.fileno()).st_size))
            view = memoryview(memory)
            count = file.readinto(view)
            sums.append(zlib.crc32(view[:count]))
            view.release()
        give_back(memory)
    return sums


PEAK = """
import numpy as np, custom_allocator as ca
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
batches = [np.full(n, 1.5) for n in (400_000, 50_000, 1_600_000, 10) * 8]
ca.batch_process_arena([np.ones(10)])  # threads and arenas have been used once
begin = peak()
result = {}
assert len(result) == sum(map(len, batches)) and np.all(result == 2.25)
print(peak() - begin, result.nbytes / 2**20)
"""


def peak_memory(expression: str) -> tuple[float, float]:
    """MiB that a child process needed at most for it, beyond its input; and the MiB of its result.

    VmHWM and not getrusage's ru_maxrss: that one begins with the parent's.
    """
    program = PEAK.replace("{}", expression).replace(" and np.all(result == 2.25)", "")
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=child_environment())
    most, result = map(float, child.stdout.split())
    return most, result


def child_environment() -> dict:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


# ---- what must be true on every machine


def test_list_in_list_out_array_in_array_out():
    assert ca.BufferPool(2, 3).process_batch([[1.0, 2.0, 3.0], [], [4]]) == [[1.0, 4.0, 9.0], [], [16.0]]
    assert ca.BufferPool(2, 3).process_batch(np.array([[1.0, 2.0]])).tolist() == [[1.0, 4.0]]
    assert ca.ObjectPool(64).process_with_pooling([1.0, 2.0]) == [2.0, 6.0]
    assert ca.sliding_window_sum([1.0, 2.0, 3.0, 4.0], 3) == [6.0, 9.0]
    assert ca.parallel_transform_preallocated([4.0, 9.0]) == [2.0, 3.0]
    assert ca.batch_process_arena([[1.0], [2.0, 3.0]]) == [1.0, 4.0, 9.0]


def test_rows_of_real_files():
    rows = line_lengths(library_files(60))
    pool = ca.BufferPool(256, 4)
    assert pool.process_batch(rows) == [[x * x for x in row] for row in rows]
    assert pool.get_stats().misses <= 4
    assert ca.batch_process_arena(rows) == [x * x for row in rows for x in row]


def test_no_allocation_after_warm_up():
    if not COUNTS:
        return
    rows = line_lengths(library_files(20))
    pool = ca.BufferPool(256, 4)
    pool.process_batch(rows)
    with ca.count_allocations() as counter:
        pool.process_batch(rows)
    assert counter.allocations == 0


def test_pooled_memory_reads_the_same_files():
    files = library_files(60)
    with ca.PoolAllocator(2) as pool:
        assert checksums(files, pool.allocate, pool.deallocate) == checksums(files, bytearray, lambda memory: None)
        assert pool.get_stats().peak == 1


def test_what_cannot_be_given_back():
    with ca.PoolAllocator(1) as pool:
        view = pool.allocate(80)
        numbers = np.frombuffer(view, np.float64)
        for call, kind in (
            (lambda: pool.deallocate(view), BufferError),
            (lambda: pool.deallocate(memoryview(bytearray(8))), ValueError),
            (lambda: pool.allocate(1), MemoryError),
        ):
            try:
                call()
            except kind:
                pass
            else:
                raise AssertionError(f"no {kind.__name__}")
        del numbers
        pool.deallocate(view)


def test_sums_do_not_drift():
    lengths = np.array([x for row in line_lengths(library_files(40)) for x in row])
    spoilt = lengths.copy()
    spoilt[1000] = 1e17
    sums = ca.sliding_window_sum(spoilt, 50)
    assert np.array_equal(sums[1001:], np.convolve(lengths, np.ones(50), "valid").round()[1001:])


# ---- the story


def main() -> None:
    files = library_files()
    rows = line_lengths(files)
    numbers = [x for row in rows for x in row]
    print(
        f"The standard library: {len(files):,} files, {len(numbers):,} lines. A row for each file: the lengths of its lines, "
        f"{min(map(len, rows))} to {max(map(len, rows)):,} numbers."
    )

    pool = ca.BufferPool(1024, 8)
    pool.process_batch(rows)
    stats = pool.get_stats()
    print(f"\nSquares of all of them, through a pool of 8 blocks of 1,024 numbers: {stats.misses} block(s) made, ", end="")
    print(f"used {stats.hits + stats.misses:,} times")
    if COUNTS:
        with ca.count_allocations() as counter:
            pool.process_batch(rows)
        print(f"  operator new, in a second call of the same size: {counter.allocations} times")
    plain = best_of(lambda: [[x * x for x in row] for row in rows])
    pooled = best_of(lambda: pool.process_batch(rows))
    print(f"  list comprehension {plain * 1e3:.1f} ms, process_batch {pooled * 1e3:.1f} ms")
    arrays = [np.array(row) for row in rows]
    print(
        f"  the same rows as arrays: NumPy {best_of(lambda: [row * row for row in arrays]) * 1e3:.2f} ms, "
        f"process_batch {best_of(lambda: pool.process_batch(arrays)) * 1e3:.2f} ms"
    )

    data = np.array(numbers)
    data[1000] = 1e17  # one broken reading
    running = np.cumsum(np.concatenate([[0.0], data]))
    subtracted = running[50:] - running[:-50]
    exact = np.lib.stride_tricks.sliding_window_view(data, 50).sum(axis=1)
    ours = ca.sliding_window_sum(data, 50)
    print(f"\nSums of 50 lines each, {len(ours):,} windows, one of the numbers is 1e17:")
    print(
        f"  np.cumsum and subtract   {best_of(lambda: np.cumsum(data)) * 1e3:6.1f} ms, {wrong(subtracted, exact):,} sums wrong"
    )
    views = best_of(lambda: np.lib.stride_tricks.sliding_window_view(data, 50).sum(axis=1), 3)
    print(f"  sliding_window_view      {views * 1e3:6.1f} ms, the yardstick")
    windows = best_of(lambda: ca.sliding_window_sum(data, 50))
    print(f"  sliding_window_sum       {windows * 1e3:6.1f} ms, {wrong(ours, exact):,} sums wrong")

    print("\nMemory that owns itself:")
    with ca.PoolAllocator(64, budget=50_000_000) as memory:
        assert checksums(files, memory.allocate, memory.deallocate) == checksums(files, bytearray, lambda old: None)
        print(f"  every file read into a view of the pool, {memory.get_stats()}")
        view = memory.allocate(800)
        as_numbers = np.frombuffer(view, np.float64)
        as_numbers[:] = 1.0
        show("  given back while an array uses it:", lambda: memory.deallocate(view))
        del as_numbers
        memory.deallocate(view)
        show("  given back twice:                 ", lambda: memory.deallocate(view))
        show("  60 MB out of a budget of 50:      ", lambda: memory.allocate(60_000_000))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with ca.PoolAllocator(4) as memory:
            left = memory.allocate(100)
        print(f"  never given back:                  {told[0].category.__name__}: {told[0].message}")
        left.release()

    frame = np.ones(1_000_000, np.uint8)
    memory = ca.PoolAllocator(4)

    def fresh():
        memoryview(bytearray(frame.nbytes))[:] = frame

    def from_the_pool():
        with memory.allocate(frame.nbytes) as view:
            view[:] = frame

    copies = {"bytearray": best_of(fresh, 300), "PoolAllocator": best_of(from_the_pool, 300)}
    print("\nA frame of 1 MB copied into memory of its own: ", end="")
    print(", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in copies.items()))

    if COUNTS:
        print("\nPeak memory of a process, beyond its 32 batches of up to 13 MB:")
        numpys, result = peak_memory("np.concatenate([batch * batch for batch in batches])")
        arenas, _ = peak_memory("ca.batch_process_arena(batches)")
        print(f"  np.concatenate of squares  {numpys:6.0f} MiB for a result of {result:.0f}")
        print(f"  batch_process_arena        {arenas:6.0f} MiB")
        measured(("peak memory, squares of 32 batches", f"{numpys / arenas:.1f} x less", "np.concatenate"))
    measured(
        (f"squares of {len(rows):,} rows, lists", f"{plain / pooled:.1f} x", "list comprehension"),
        ("sums of 50 neighbours, no drift", f"{views / windows:.0f} x", "sliding_window_view"),
    )


def wrong(sums: np.ndarray, exact: np.ndarray) -> int:
    return int(np.sum(np.abs(sums - exact) > 1e-9 * np.abs(exact)))


def show(what: str, call) -> None:
    try:
        call()
    except (BufferError, ValueError, MemoryError) as error:
        print(f"{what} {type(error).__name__}: {error}")


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "09", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
