"""Lesson 08 - memory that is not copied. `python test_example.py` tells the story; `pytest test_example.py` checks it.

`python test_example.py picture.png` also keeps the filtered photograph.

The photograph comes with PyWavelets, the smallest package that has one: 8 bits, 512 x 512, read with NumPy alone.
"""

import array
import json
import mmap
import os
import struct
import sys
import tempfile
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pywt.data
import zero_copy as zc

BLUR = np.array([[1, 4, 6, 4, 1]]).T @ np.array([[1, 4, 6, 4, 1]]) / 256  # a bell of 5 x 5
SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def photograph() -> np.ndarray:
    """Under the stairs, as float32. In the public domain ("accent-to-the-top"); the part without people."""
    return pywt.data.ascent()[:190].astype(np.float32)


def filtered(image: np.ndarray) -> dict[str, np.ndarray]:
    """What the lesson's picture shows: blurred, edges, the largest of each 4 x 4."""
    blurred = zc.correlate2d(image, BLUR.astype(image.dtype))
    across = zc.correlate2d(blurred, SOBEL.astype(image.dtype))
    down = zc.correlate2d(blurred, SOBEL.T.astype(image.dtype))  # .T is a view: the strides are turned, nothing moves
    edges = zc.Chain(across).square().add(zc.multiply(down, down)).sqrt().run(out=across)
    return {"blurred": blurred, "edges": edges, "pooled": zc.max_pool2d(edges, 4)}


def shifted_adds(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """correlate2d with NumPy: the image moved to each place of the kernel, weighed and added."""
    rows, columns = image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1
    total = np.zeros((rows, columns), image.dtype)
    for (i, j), weight in np.ndenumerate(kernel):
        total += weight * image[i : i + rows, j : j + columns]
    return total


def address(values) -> int:
    return np.asarray(values).__array_interface__["data"][0]


def best_of(function, rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def write_png(path: Path, grey: np.ndarray) -> None:
    """8 bits of grey; PNG needs no more than zlib."""
    height, width = grey.shape
    lines = b"".join(b"\0" + grey[row].tobytes() for row in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def before_and_after(image: np.ndarray, results: dict[str, np.ndarray]) -> np.ndarray:
    """The photograph, blurred, its edges and the pooled edges (made large again), below each other."""

    def grey(part: np.ndarray) -> np.ndarray:
        shade = zc.multiply(part, 255.0 / float(part.max()))
        return shade.astype(np.uint8)

    pooled = np.repeat(np.repeat(results["pooled"], 4, 0), 4, 1)
    parts = [grey(each) for each in (image, results["blurred"], results["edges"], pooled)]
    width = min(part.shape[1] for part in parts)
    return np.vstack([part[:, :width] for part in parts])


# ---- what must be true on every machine


def test_an_array_is_changed_where_it_is():
    data = np.array([1.0, -2.0, 3.0])
    before = address(data)
    assert zc.process_slice_inplace(data) is data
    assert data.tolist() == [1.0, 4.0, 9.0] and address(data) == before
    numbers = [1.0, -2.0, 3.0]
    assert zc.process_slice_inplace(numbers) == [1.0, 4.0, 9.0] and numbers == [1.0, -2.0, 3.0]


def test_only_what_the_view_shows_is_changed():
    data = np.arange(6.0)
    zc.process_slice_inplace(data[::2])
    assert data.tolist() == [0.0, 1.0, 4.0, 3.0, 16.0, 5.0]


def test_nothing_is_allocated():
    data, out = np.ones(200_000), np.empty(200_000)
    zc.fused(data, data, data, out=out)
    made = zc.owners_made()
    tracemalloc.start()
    zc.fused(data, data, data, out=out)
    zc.sum_nocopy(data[::-3])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert zc.owners_made() == made and peak < 20_000


def test_the_same_memory_under_many_names():
    memory = array.array("d", [1.0, 2.0, 3.0])
    view = zc.View(memory)
    assert view.address == memory.buffer_info()[0] == address(np.asarray(view)) == address(np.from_dlpack(view))
    assert zc.sum_nocopy(memoryview(memory)[::-1]) == 6.0


def test_the_photograph():
    image = photograph()
    results = filtered(image)
    assert results["pooled"].shape == (46, 126)
    np.testing.assert_allclose(results["blurred"], shifted_adds(image, BLUR.astype(np.float32)), rtol=1e-5)
    for level in zc.simd_info()["usable"]:
        with zc.simd_level(level):
            np.testing.assert_allclose(filtered(image)["edges"], results["edges"], rtol=1e-3, atol=1e-2)


def test_read_only_is_refused():
    data = np.ones(3)
    data.flags.writeable = False
    try:
        zc.process_slice_inplace(data)
    except ValueError as error:
        assert "read-only" in str(error)
    else:
        raise AssertionError("no error")


# ---- the story


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = zc.simd_info()
    print(f"{cores} usable cores; SIMD: {', '.join(info['usable'])}; selected {info['selected']}\n")

    data = np.copysign(1.0, np.random.default_rng(1).random(1_000_000) - 0.5)
    numbers = data.tolist()
    print("A million squares:")
    lists = best_of(lambda: zc.process_slice_inplace(numbers), 3)
    copied = best_of(lambda: np.square(data))
    in_place = best_of(lambda: zc.process_slice_inplace(data), 20)
    print(f"  a list, a new list back     {lists * 1e3:8.3f} ms")
    print(f"  np.square, a new array back {copied * 1e3:8.3f} ms")
    print(f"  the array, in place         {in_place * 1e3:8.3f} ms   at address {address(data):#x} before and after\n")

    with tempfile.NamedTemporaryFile() as file:
        file.write(np.arange(1_000_000.0).tobytes())
        file.flush()
        with mmap.mmap(file.fileno(), 0) as memory:
            view = memoryview(memory).cast("d")
            print("One function, whoever owns the memory:")
            print(f"  a file, by mmap             {zc.sum_nocopy(view):.0f}, no byte of it read() into Python")
            view.release()
    print(f"  array.array                 {zc.sum_nocopy(array.array('d', [1.0, 2.0])):.1f}")
    print(f"  every third item, backwards {zc.sum_nocopy(np.arange(10.0)[::-3]):.1f}")
    taken = np.from_dlpack(zc.View(data))
    print(f"  through DLPack to NumPy     the same address: {address(taken) == address(data)}")
    before = zc.live_owners()
    result = zc.add(data, 1.0)
    part = result[::1000]
    del result
    alive = zc.live_owners() - before
    del part
    print(f"  owners of a result while a slice of it lives: {alive}, afterwards: {zc.live_owners() - before}\n")

    a, b, c, out = (np.random.default_rng(seed).random(1_000_000) for seed in range(4))
    for _ in range(3):
        a * b + c * 2 - 1  # NumPy's memory is warm now
    numpy_time = best_of(lambda: a * b + c * 2 - 1, 20)
    one = best_of(lambda: zc.fused(a, b, c, out=out, num_threads=1), 50)
    all_cores = best_of(lambda: zc.fused(a, b, c, out=out), 50)
    chain = zc.Chain(a).multiply(b).add(c, times=2.0).subtract(1.0)
    chained = best_of(lambda: chain.run(out=out), 50)
    assert np.array_equal(out, a * b + c * 2 - 1)
    print("a * b + c * 2 - 1, a million each, the same bits:")
    print(f"  NumPy, an array per step    {numpy_time * 1e3:8.3f} ms")
    print(f"  one pass, one thread        {one * 1e3:8.3f} ms   {numpy_time / one:.1f} x as fast")
    print(f"  one pass, {cores} threads         {all_cores * 1e3:8.3f} ms   {numpy_time / all_cores:.1f} x as fast")
    print(f"  a chain put together here   {chained * 1e3:8.3f} ms   {numpy_time / chained:.1f} x as fast\n")

    image = photograph()
    whole = pywt.data.ascent().astype(np.float32)
    kernel = BLUR.astype(np.float32)
    shifts = best_of(lambda: shifted_adds(whole, kernel))
    print("A photograph of 512 x 512, blurred by a kernel of 5 x 5:")
    print(f"  NumPy, shifted and added    {shifts * 1e3:8.3f} ms")
    ours = shifts
    for level in info["usable"]:
        with zc.simd_level(level):
            ours = best_of(lambda: zc.correlate2d(whole, kernel, num_threads=1), 20)
        print(f"  correlate2d, {level:14} {ours * 1e3:8.3f} ms   {shifts / ours:.1f} x as fast, one thread")
    path = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="zero_copy_") + "/stairs.png")
    write_png(path, before_and_after(image, filtered(image)))
    print(f"  the picture: {path}\n")

    n = 240
    x, y = (np.random.default_rng(seed).random((n, n)) for seed in (5, 6))
    stages = (zc.matmul_naive, zc.matmul_blocked, zc.matmul_simd, zc.matmul_threaded)
    print(f"The product of two {n} x {n} matrices, in four stages:")
    first = 0.0
    for stage in stages:
        took = best_of(lambda stage=stage: stage(x, y), 5)
        first = first or took
        print(f"  {stage.__name__:27} {took * 1e3:8.3f} ms   {2e-9 * n**3 / took:6.1f} GFLOP/s, {first / took:.1f} x the first")
    print()

    data.flags.writeable = False
    try:
        zc.process_slice_inplace(data)
    except ValueError as error:
        print(f"And memory that is not ours to change: ValueError: {error}")

    measured(
        ("squares of an array, 1,000,000, in place", f"{copied / in_place:.1f} x", "np.square"),
        ("a * b + c * 2 - 1, 1,000,000", f"{numpy_time / all_cores:.1f} x", "NumPy"),
        ("5 x 5 blur of a photograph, one thread", f"{shifts / ours:.1f} x", "NumPy, shifted adds"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "08", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
