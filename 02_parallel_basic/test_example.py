"""Lesson 02 - parallel loops with OpenMP. `python test_example.py` tells the story; `pytest test_example.py` checks it.

`python test_example.py picture.png` also keeps the rendered picture.
"""

import json
import math
import os
import struct
import sys
import sysconfig
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import parallel_basic as pb

PLACE = (-2.0, 0.7, -0.12, 1.25)  # not symmetric on purpose: the first rows cost far more than the last


def best_of(function, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def library_sources(limit: int = 6_000_000) -> list[str]:
    """The standard library of this Python as texts, up to so many characters."""
    folder = Path(sysconfig.get_path("stdlib"))
    documents, size = [], 0
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" in path.parts or size > limit:
            continue
        documents.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(documents[-1])
    return documents


def mandelbrot(width, height, x_min, x_max, y_min, y_max, max_iter):
    """What parallel_mandelbrot computes, in plain Python."""
    rows = []
    for row in range(height):
        ci = y_min + row / height * (y_max - y_min)
        steps_of_row = []
        for column in range(width):
            cr = x_min + column / width * (x_max - x_min)
            zr = zi = 0.0
            steps = 0
            while steps < max_iter and zr * zr + zi * zi <= 4.0:
                zr, zi = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci
                steps += 1
            steps_of_row.append(steps)
        rows.append(steps_of_row)
    return rows


def write_png(path: Path, steps: np.ndarray, max_iter: int) -> None:
    """Grey for escaping, black for staying; PNG needs no more than zlib."""
    shade = np.where(steps == max_iter, 0, 255 * (np.log1p(steps) / math.log1p(max_iter)) ** 0.7).astype(np.uint8)
    height, width = shade.shape
    lines = b"".join(b"\0" + shade[row].tobytes() for row in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    picture = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + picture)


# ---- what must be true on every machine


def test_list_in_list_out_array_in_array_out():
    assert pb.parallel_square([1.0, -2.0, 3]) == [1.0, 4.0, 9.0]
    assert pb.parallel_square(np.array([1.0, -2.0])).tolist() == [1.0, 4.0]
    assert pb.parallel_filter_even([-2, -1, 0, 1, 2]) == [-2, 0, 2]
    assert str(pb.parallel_sort([math.nan, 0.0, -0.0, -1.0])) == "[-1.0, -0.0, 0.0, nan]"
    assert pb.parallel_max([]) is None
    assert pb.parallel_matrix_multiply([[1.0, 2.0]], [[3.0], [4.0]]) == [[11.0]]


def test_same_bits_at_every_thread_count():
    numbers = np.random.default_rng(1).standard_normal(300_000)
    sums = {pb.parallel_sum(numbers, num_threads=n) for n in (1, 2, 4, 7)}
    assert sums == {pb.sequential_sum(numbers)} == {pb.parallel_sum(numbers.tolist())}


def test_words_are_those_of_python():
    documents = library_sources(500_000)
    assert pb.parallel_word_count(documents) == [len(document.split()) for document in documents]
    assert pb.parallel_word_frequencies(documents) == Counter(word for document in documents for word in document.split())


def test_mandelbrot_is_that_of_plain_python():
    assert pb.parallel_mandelbrot(2, 2, -2.5, 1, -1, 1, 10) == [[1, 3], [1, 10]]
    assert pb.parallel_mandelbrot(60, 40, *PLACE, 100) == mandelbrot(60, 40, *PLACE, 100)


def test_the_picture_is_a_png(tmp_path):
    steps = pb.parallel_mandelbrot(64, 48, *PLACE, 100, out=np.empty((48, 64), np.uint32))
    write_png(tmp_path / "picture.png", steps, 100)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_errors_name_argument_index_and_cure():
    for call, words in (
        (lambda: pb.parallel_sum([1.0, "2"]), "numbers[1]"),
        (lambda: pb.parallel_sum(np.array([1, 2])), "float64"),
        (lambda: pb.parallel_sum([1.0], num_threads=0), "num_threads"),
    ):
        try:
            call()
        except (TypeError, ValueError) as error:
            assert words in str(error), error
        else:
            raise AssertionError("no error")


# ---- the story


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} usable cores; SIMD: {pb.simd_name()}\n")

    small = (120, 90, *PLACE, 200)
    python = best_of(lambda: mandelbrot(*small), 1)
    ours = best_of(lambda: pb.parallel_mandelbrot(*small))
    print("Mandelbrot, 120 x 90 pixels, at most 200 steps each:")
    print(f"  plain Python        {python * 1e3:9.1f} ms")
    print(f"  parallel_mandelbrot {ours * 1e3:9.1f} ms   {python / ours:.0f} x as fast, the same lists\n")

    steps = np.empty((540, 1064), np.uint32)
    schedules = {}
    print("1064 x 540 pixels, 1000 steps, into an array; how rows reach two threads:")
    for name, options in {
        "static": {"schedule": "static"},
        "dynamic": {"schedule": "dynamic"},
        "dynamic, 128 rows at once": {"schedule": "dynamic", "grain": 128},
        "dynamic, one thread": {"num_threads": 1},
    }.items():
        options = {"num_threads": 2, **options}
        schedules[name] = best_of(lambda o=options: pb.parallel_mandelbrot(1064, 540, *PLACE, 1000, out=steps, **o))
        print(f"  {name:27}{schedules[name] * 1e3:7.1f} ms")
    picture = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="parallel_basic_") + "/mandelbrot.png")
    write_png(picture, steps, 1000)
    print(f"  the picture: {picture}\n")

    documents = library_sources()
    words = sum(pb.parallel_word_count(documents))
    split = best_of(lambda: [len(document.split()) for document in documents], 3)
    count = best_of(lambda: pb.parallel_word_count(documents))
    counter = best_of(lambda: Counter(word for document in documents for word in document.split()), 1)
    frequencies = best_of(lambda: pb.parallel_word_frequencies(documents))
    most = sorted(pb.parallel_word_frequencies(documents).items(), key=lambda item: -item[1])[:5]
    print(f"{len(documents)} files of Python's standard library (the first 6 MB), {words:,} words; the most frequent:")
    print("  " + ", ".join(f"{word} {times:,}" for word, times in most))
    print(f"  words per file    {count * 1e3:7.1f} ms   {split / count:.1f} x as fast as [len(d.split()) for d in documents]")
    print(f"  word frequencies  {frequencies * 1e3:7.1f} ms   {counter / frequencies:.1f} x as fast as a Counter\n")

    array = np.random.default_rng(2).standard_normal(1_000_000)
    numbers = array.tolist()
    from_list, builtin = best_of(lambda: pb.parallel_sum(numbers)), best_of(lambda: sum(numbers))
    from_array, numpys = best_of(lambda: pb.parallel_sum(array), 50), best_of(lambda: np.sum(array), 50)
    print("The sum of a million floats:")
    print(f"  in a list    {from_list * 1e3:7.3f} ms   sum()    {builtin * 1e3:7.3f} ms")
    print(f"  in an array  {from_array * 1e3:7.3f} ms   np.sum() {numpys * 1e3:7.3f} ms")
    bits = {pb.parallel_sum(array, num_threads=n).hex() for n in (1, 2, 3, 4, 7)}
    print(f"  with 1, 2, 3, 4 and 7 threads: {len(bits)} result, {bits.pop()}\n")

    made = best_of(lambda: array.tolist())
    square, loop = best_of(lambda: pb.parallel_square(numbers)), best_of(lambda: [x * x for x in numbers])
    print("Squares of a list, as a list: most of the time goes into a million new float objects:")
    print(f"  parallel_square {square * 1e3:.1f} ms, comprehension {loop * 1e3:.1f} ms, objects alone {made * 1e3:.1f} ms\n")

    try:
        pb.parallel_sum([1.0, 2.0, None])
    except TypeError as error:
        print(f"And a bad item: TypeError: {error}")

    measured(
        ("Mandelbrot, lists", f"{python / ours:.0f} x", "plain Python"),
        ("dynamic schedule, uneven rows", f"{schedules['static'] / schedules['dynamic']:.2f} x", "static schedule"),
        ("word frequencies", f"{counter / frequencies:.1f} x", "Counter"),
        ("sum of an array, 1,000,000", f"{numpys / from_array:.1f} x", "np.sum"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "02", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
