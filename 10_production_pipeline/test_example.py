"""Lesson 10 - a production pipeline. `python test_example.py` tells the story; `pytest test_example.py` checks it.

The input is this Python itself: every file of its standard library and of the packages installed beside it, up to 96 MiB.
First as files: read, checked, cut into blocks, the entropy of each block. Then as numbers: the same bytes, eight at a time, are
float64 - what a broken sensor file looks like: some NaN, some infinite, many negative.
"""

import json
import math
import os
import sysconfig
import threading
import time
from pathlib import Path

import numpy as np
import production_pipeline as pp
from production_pipeline import Pipeline, native

MOST_BYTES = 96 * 2**20
BLOCK = 64 * 1024


def installed_files(most: int = MOST_BYTES):
    """Paths below this Python's own folders, in order, until their sizes add up."""
    folders = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    seen: set[str] = set()
    for folder in folders:
        for where, below, names in os.walk(folder):
            below.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                if path in seen or not os.path.isfile(path):
                    continue
                seen.add(path)
                most -= os.path.getsize(path)
                if most < 0:
                    return
                yield path


def read(path: str) -> tuple[str, bytes]:
    return path, Path(path).read_bytes()


def says_what_it_is(file: tuple[str, bytes]) -> bool:
    """A Python source is UTF-8, unless its first lines say otherwise; the UnicodeDecodeError says where it is not."""
    path, content = file
    if path.endswith(".py") and b"coding" not in b"".join(content.split(b"\n", 2)[:2]):
        content.decode()
    return True


def blocks(file: tuple[str, bytes]):
    _, content = file
    return (content[i : i + BLOCK] for i in range(0, len(content), BLOCK))


def entropy(block: bytes) -> float:
    """Bits per byte: 0 for one value over and over, 8 for noise; text has 4 to 5, what is compressed nearly 8."""
    counts = np.bincount(np.frombuffer(block, np.uint8), minlength=256)
    shares = counts[counts > 0] / len(block)
    return abs(float((shares * np.log2(shares)).sum()))


def entropies(**options) -> Pipeline:
    return (
        Pipeline(on_error="collect", retries=1, queue_size=64, **options)
        .map(read)
        .filter(lambda file: len(file[1]) > 0, name="not empty")
        .validate(says_what_it_is)
        .flat_map(blocks)
        .map(entropy)
    )


def numpy_roots(numbers: np.ndarray) -> np.ndarray:
    """What DataPipeline does, as good as NumPy alone does it: one mask, one copy, in place from there."""
    good = numbers[np.isfinite(numbers) & (numbers >= 0)]
    np.sqrt(good, out=good)
    return np.multiply(good, 2.0, out=good)


def best_of(function, rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


# ---- what must be true on every machine


def test_data_pipeline():
    pipeline = pp.DataPipeline(2, 100)
    values, stats = pipeline.process([4.0, math.nan, -1.0, 0.25, math.inf])
    assert values == [4.0, 1.0]
    assert (stats.items_processed, stats.items_filtered, stats.items_failed) == (2, 1, 2)
    assert pipeline.process_batched(np.array([9.0]))[0].tolist() == [6.0]
    assert pipeline.get_stats().items_processed == 1


def test_aggregate():
    assert pp.aggregate_pipeline([2.0, 4.0, math.nan]) == (3.0, 1.0, 2.0, 4.0, 2)
    assert pp.aggregate_pipeline([]) == (0.0, 0.0, math.inf, -math.inf, 0)


def test_stages_in_order_with_any_number_of_workers():
    for workers in (1, 2, 4):
        pipeline = Pipeline(workers).filter(lambda x: x % 2).map(lambda x: x * x).batch(3)
        assert pipeline.run(range(10)).items == [[1, 9, 25], [49, 81]]


def test_an_item_that_fails_is_named():
    result = Pipeline(2, on_error="collect").map(lambda x: 1 / x).run([1, 0, 4])
    assert result.items == [1.0, 0.25]
    (failure,) = result.errors
    assert (failure.index, failure.value, type(failure.error)) == (1, 0, ZeroDivisionError)


def test_native_stages_are_one():
    pipeline = Pipeline(2).filter(native.at_least(0.0)).map(native.sqrt).map(native.times(2.0))
    numbers = np.random.default_rng(10).normal(size=100_000)
    assert len(pipeline.stages) == 1
    assert np.array_equal(pipeline.run(numbers).items, numpy_roots(numbers))


def test_a_few_files():
    result = entropies(workers=2).run(list(installed_files(2 * 2**20)))
    assert result.items and all(0 <= bits <= 8 for bits in result.items)
    assert result.stats.items_read == result.stats.stages[0].items_in


# ---- the story


def main() -> None:
    rows = []
    paths = list(installed_files())
    pipeline = entropies()
    result = pipeline.run(paths)
    stats = result.stats
    contents = b"".join(Path(path).read_bytes() for path in paths)
    print(f"This Python's installation: {len(paths):,} files, {len(contents):,} bytes, in blocks of 64 KiB.\n")
    print(stats.table())
    print(
        f"\n{stats.duration_secs:.1f} s, {len(contents) / stats.duration_secs / 1e6:.0f} MB/s; "
        f"{stats.items_failed} sources are not what they say"
    )
    for failure in result.errors[:2]:
        print(f"  file {failure.index}, {Path(failure.value[0]).name}: {failure.error}")
    mean, stddev, least, most, count = pp.aggregate_pipeline(result.items)
    print(
        f"entropy of {count:,} blocks: {mean:.2f} bits per byte on average (stddev {stddev:.2f}), {least:.2f} to {most:.2f}\n"
    )

    numbers = np.frombuffer(contents[: len(contents) // 8 * 8], np.float64)
    workers = max(2, pp._core.usable_cores())
    with np.errstate(all="ignore"):
        roots = pp.DataPipeline(workers, 10_000)
        values, told = roots.process(numbers)
        assert np.array_equal(values, numpy_roots(numbers))
        ours, theirs = best_of(lambda: roots.process(numbers)), best_of(lambda: numpy_roots(numbers))
        few = numbers[:1_000_000].tolist()
        assert roots.process(few)[0] == [2.0 * math.sqrt(x) for x in few if math.isfinite(x) and x >= 0]
        ours_list = best_of(lambda: roots.process(few))
        comprehension = best_of(lambda: [2.0 * math.sqrt(x) for x in few if math.isfinite(x) and x >= 0])
    print(f"The same bytes as {len(numbers):,} float64: {told}")
    print(f"  DataPipeline.process, array   {ours * 1e3:7.1f} ms")
    print(f"  NumPy                         {theirs * 1e3:7.1f} ms   {theirs / ours:.1f} x")
    print(f"  the first {len(few):,} as a list: {ours_list * 1e3:.1f} ms; a comprehension {comprehension * 1e3:.1f} ms")
    print(f"                                              {comprehension / ours_list:.1f} x\n")
    rows.append((f"{len(numbers) / 1e6:.0f} million float64 cleaned", f"{theirs / ours:.1f} x", "NumPy"))
    rows.append(("a million floats cleaned, lists", f"{comprehension / ours_list:.1f} x", "list comprehension"))

    def work(x: int) -> int:  # some 10 µs
        return sum(range(x, x + 400))

    items = list(range(20_000))
    plain = best_of(lambda: [work(x) for x in items])
    one = Pipeline(1).map(work)
    assert one.run(items).items == [work(x) for x in items]
    piped = best_of(lambda: one.run(items))
    print(
        f"A Python stage of {plain / len(items) * 1e6:.1f} µs: a loop takes {plain * 1e3:.0f} ms, the pipeline {piped * 1e3:.0f} ms"
    )
    rows.append((f"a Python stage of {plain / len(items) * 1e6:.0f} µs", f"{plain / piped:.2f} x", "plain loop"))

    handed, taken = 0, 0

    def endless():
        nonlocal handed
        while True:
            handed += 1
            yield handed

    ahead = 0
    with Pipeline(2, queue_size=100).map(abs).stream(endless()) as stream:
        for _ in stream:
            taken += 1
            ahead = max(ahead, handed - taken)
            if taken == 100_000:
                break
    print(f"An endless source, {taken:,} results taken: it was never more than {ahead} items ahead (queue_size=100)")

    control, seen = pp.Control(), []
    thread = threading.Timer(0.2, control.drain)
    thread.start()
    result = (
        Pipeline(2, queue_size=100).map(lambda x: (time.sleep(0.0001), x)[1]).sink(seen.append).run(endless(), control=control)
    )
    thread.join()
    print(f"drained after 0.2 s: read {result.stats.items_read}, delivered {len(seen)}, state {result.stats.state!r}")

    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "10", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
