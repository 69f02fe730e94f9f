"""Lesson 06 - parallel pipelines. `python test_example.py` tells the story; `pytest test_example.py` checks it."""

import json
import math
import os
import time

import numpy as np
import parallel_iterators as pi


def best_of(function, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def year_of_readings(stations: int) -> np.ndarray:
    """A temperature for each hour of a year at so many stations, in Fahrenheit; some were not measured."""
    rng = np.random.default_rng(6)
    hours = np.arange(8760)
    season = 59 - 22 * np.cos(2 * np.pi * hours / 8760) - 9 * np.cos(2 * np.pi * hours / 24)
    readings = (season + rng.normal(0, 6, (stations, 8760))).ravel()
    readings[rng.integers(0, readings.size, readings.size // 1000)] = np.nan
    return readings


def degree_hours_numpy(fahrenheit: np.ndarray, base: float = 18.0) -> float:
    celsius = (fahrenheit - 32.0) * (5.0 / 9.0)  # two arrays as long as the input
    warm = celsius[celsius > base]  # a mask, and a third
    return float((warm - base).sum())  # and a fourth


def degree_hours_python(fahrenheit: list, base: float = 18.0) -> float:
    celsius = ((f - 32.0) * (5.0 / 9.0) for f in fahrenheit)
    return math.fsum(c - base for c in celsius if c > base)


# ---- what must be true on every machine


def test_one_pass_gives_the_same_answer():
    readings = year_of_readings(3)
    ours = pi.parallel_degree_days(readings)
    assert math.isclose(ours, degree_hours_numpy(readings), rel_tol=1e-12)
    assert math.isclose(ours, degree_hours_python(readings.tolist()), rel_tol=1e-12)
    assert {pi.parallel_degree_days(readings, num_threads=n) for n in (1, 2, 4, 7)} == {ours}


def test_list_in_list_out_array_in_array_out():
    assert pi.parallel_filter_map([-2, -1, 0, 1, 4]) == [4, 0, 16]
    assert pi.parallel_filter_map(np.array([-2, -1, 0, 1, 4])).tolist() == [4, 0, 16]
    assert pi.parallel_flat_map([(0, 3), (5, 5), [7, 9]]) == [0, 1, 2, 7, 8]
    assert pi.parallel_partition([5, 1, 4, 2], 4) == ([1, 2], [5, 4])
    assert pi.parallel_group_by_modulo([-1, 0, 1, 2, 3], 3) == [[0, 3], [1], [-1, 2]]
    assert pi.parallel_zip_add([1.0, 2.0], [3.0, 4.0]) == [4.0, 6.0]
    assert pi.parallel_moving_average([1.0, 2.0, 3.0, 4.0], 2) == [1.5, 2.5, 3.5]
    assert pi.parallel_collect_string([1, -20]) == ["1", "-20"]
    assert pi.parallel_matrix_transpose([[1.0, 2.0, 3.0]]) == [[1.0], [2.0], [3.0]]
    assert pi.parallel_chain([1], [2, 3]) == [1, 2, 3]
    assert pi.parallel_process_with_log([50.0, 101.0], return_log=True) == ([100.0, 202.0], [101.0])
    assert pi.parallel_scan([1.0, 2.0, 3.0]) == [1.0, 3.0, 6.0]
    assert pi.parallel_fold([]) == (0.0, math.inf, -math.inf)
    assert pi.parallel_map_with_error([1.0, 3.0], 2.0) == [0.5, 1.5]


def test_the_first_match_at_every_thread_count():
    numbers = np.arange(200_000) % 1000
    assert [pi.parallel_find(numbers, 777, num_threads=n) for n in (1, 2, 4, 7)] == [777] * 4
    assert pi.parallel_find(numbers, -1) is None
    assert pi.parallel_predicates(numbers) == (False, False)


def test_a_missing_reading_spoils_its_own_windows_only():
    readings = np.ones(1000)
    readings[500] = np.nan
    assert np.flatnonzero(np.isnan(pi.parallel_moving_average(readings, 24))).tolist() == list(range(477, 501))


def test_errors_name_argument_index_and_cure():
    for call, kind, words in (
        (lambda: pi.parallel_filter_map([1, 2, 2**40]), OverflowError, "numbers[2]"),
        (lambda: pi.parallel_map_with_error([1.0], 0.0), ValueError, "Division by zero"),
        (lambda: pi.parallel_zip_add([1.0], []), ValueError, "Vectors must have same length"),
        (lambda: pi.parallel_moving_average([1.0], 2), ValueError, "Invalid window size"),
        (lambda: pi.parallel_find(np.array([1.0]), 1), TypeError, "int64"),
    ):
        try:
            call()
        except kind as error:
            assert words in str(error), error
        else:
            raise AssertionError("no error")


# ---- the story


def main() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    readings = year_of_readings(400)
    megabytes = readings.nbytes / 1e6
    print(f"{cores} usable cores; {readings.size:,} temperatures, {megabytes:.0f} MB. How much cooling did they ask for?\n")

    celsius, warm, results = None, None, []

    def first():
        nonlocal celsius
        celsius = (readings - 32.0) * (5.0 / 9.0)

    def second():
        nonlocal warm
        warm = celsius[celsius > 18.0]

    def third():
        results.append(float((warm - 18.0).sum()))

    lines = {
        "celsius = (readings - 32) * (5 / 9)": first,
        "warm = celsius[celsius > 18]": second,
        "(warm - 18).sum()": third,
    }
    numpy_time = 0.0
    for text, step in lines.items():
        step()
        numpy_time += (seconds := best_of(step))
        print(f"  {text:38}{seconds * 1e3:8.1f} ms")
    print(f"  {'NumPy, line by line':38}{numpy_time * 1e3:8.1f} ms")
    one = best_of(lambda: pi.parallel_degree_days(readings, num_threads=1), 30)
    all_of_them = best_of(lambda: pi.parallel_degree_days(readings), 30)
    print(f"  {'one pass, one thread':38}{one * 1e3:8.1f} ms   {numpy_time / one:.1f} x")
    print(f"  {'one pass, all threads':38}{all_of_them * 1e3:8.1f} ms   {numpy_time / all_of_them:.1f} x")
    ours = pi.parallel_degree_days(readings)
    print(f"  {ours / 24 / 400:,.1f} degree days at the average station; NumPy says {results[0] / 24 / 400:,.1f}\n")

    a, b, c = (np.random.default_rng(i).random(1_000_000) for i in range(3))
    out = np.empty_like(a)
    chain = best_of(lambda: a * b + c * 2 - 1, 30)
    fused = best_of(lambda: pi.parallel_expression(a, b, c, out=out), 30)
    print("a * b + c * 2 - 1, a million each:")
    same = "the same bits" if np.array_equal(out, a * b + c * 2 - 1) else "OTHER BITS"
    print(f"  NumPy {chain * 1e3:.2f} ms, one pass {fused * 1e3:.2f} ms: {chain / fused:.1f} x, {same}\n")

    ints = np.arange(10_000_000)
    print("Where is the first ... among ten million? Searching stops where it is found:")
    for target in (100, 100_000, 5_000_000, -1):
        ours = best_of(lambda t=target: pi.parallel_find(ints, t), 20)
        numpys = best_of(lambda t=target: np.flatnonzero(ints == t)[:1], 3)
        print(f"  {target:>9,}: {ours * 1e6:9.1f} us   np.flatnonzero {numpys * 1e6:9.1f} us")
    print()

    hours = year_of_readings(1)[:1000]
    hours[200:] = 60.0
    hours[:100], hours[100] = 60.0, np.nan
    sums = np.cumsum(np.concatenate([[0.0], hours]))
    print("Means of 24 hours, one of a thousand hours missing:")
    print(f"  np.cumsum and subtract     {np.isnan((sums[24:] - sums[:-24]) / 24).sum()} of 977 means lost")
    print(f"  parallel_moving_average    {np.isnan(pi.parallel_moving_average(hours, 24)).sum()} of 977 means lost\n")

    try:
        pi.parallel_filter_map(np.array([2, 3, 2**40, 2**41]))
    except OverflowError as error:
        print(f"And a square that does not fit: OverflowError: {error}")

    measured(
        ("degree days, one pass", f"{numpy_time / all_of_them:.1f} x", "NumPy, line by line"),
        ("a * b + c * 2 - 1, 1,000,000", f"{chain / fused:.1f} x", "NumPy"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "06", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
