"""Lesson 01 - release the GIL. `python test_example.py` tells the story; `pytest test_example.py` checks it."""

import json
import os
import threading
import time

import gil_release


def seconds_with_two_threads(function, n: int) -> float:
    threads = [threading.Thread(target=function, args=(n,)) for _ in range(2)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


def shares(observer: gil_release.GilObserver) -> dict[str, float]:
    """The share of all threads' time in each state."""
    totals = {"held": 0.0, "waiting": 0.0, "free": 0.0}
    for _, state, begin, end in observer.intervals():
        totals[state] += end - begin
    everything = sum(totals.values())
    return {state: seconds / everything for state, seconds in totals.items()}


# ---- what must be true on every machine


def test_same_answer_either_way():
    assert gil_release.compute_primes_blocking(1_000_000) == 78_498
    assert gil_release.compute_primes_releasing(1_000_000) == 78_498
    assert gil_release.compute_primes_segmented(1_000_000) == 78_498
    assert gil_release.parallel_compute(10_000, 4) == [367, 302, 281, 279]


def test_two_threads_meet_inside_native_code():
    meeting = gil_release.Rendezvous(2)
    met = []
    threads = [threading.Thread(target=lambda: met.append(meeting.meet(30))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True, True]


def test_the_observer_sees_free_time_inside_a_piece_only_when_the_gil_is_released():
    observer = gil_release.GilObserver()
    counts = []
    for release in (False, True):
        observer.run(20_000, threads=2, pieces=4, release=release)
        counts.append(sum(state == "free" for _, state, _, _ in observer.intervals()))
    assert counts == [2 * 4, 2 * 4 * 2]  # after each piece; and when released, also within it


# ---- the story


def main() -> None:
    n = 2_000_000
    print(f"How many primes are there up to {n:,}? Two Python threads ask at once.\n")
    gil_release.benchmark_gil_release(n // 4, 1)  # warm up
    one = min(seconds_with_two_threads(gil_release.compute_primes_blocking, n) for _ in range(3))
    two = min(seconds_with_two_threads(gil_release.compute_primes_releasing, n) for _ in range(3))
    print(f"  GIL held      {one:7.3f} s   one thread works, the other waits")
    print(f"  GIL released  {two:7.3f} s   {one / two:.2f} x as fast, same C++ code")

    begin = time.perf_counter()
    gil_release.compute_primes_segmented(n)
    sieve = time.perf_counter() - begin
    print(f"  a better algorithm, one thread: {sieve:7.4f} s. Look for that first.\n")

    meeting = gil_release.Rendezvous(2)
    for hold in (False, True):
        met: list[bool] = []
        threads = [threading.Thread(target=lambda: met.append(meeting.meet(1.0, hold_gil=hold))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"  two threads inside native code at once, GIL {'held' if hold else 'released'}: {all(met)}")

    idle = gil_release.measure_gil_cost(0.2)
    busy = gil_release.measure_gil_cost(0.5, contended=True, released_for=0.001)
    print(f"\n  release + reacquire, nobody else about: median {idle['p50']:.0f} ns, 99 % under {idle['p99']:.0f} ns")
    print(f"  after 1 ms, with a busy Python thread:  median {busy['p50'] / 1e6:.1f} ms, slowest {busy['max'] / 1e6:.1f} ms")
    found = gil_release.find_break_even(2, seconds=1.5)
    pays = found["pays_from_ns"]
    print(
        "  two threads gain by releasing from " + (f"{pays / 1000:.1f} us of work per call on" if pays else "no size measured")
    )

    observer = gil_release.GilObserver()
    print("\n  what two native threads did with their time:")
    for release in (False, True):
        observer.run(200_000, threads=2, pieces=6, release=release)
        share = shares(observer)
        row = "  ".join(f"{state} {share[state]:4.0%}" for state in ("held", "waiting", "free"))
        print(f"    GIL {'released' if release else 'held    '}  {row}")

    measured(
        ("two threads, GIL released", f"{one / two:.2f} x", "GIL held"),
        ("release + reacquire, idle", f"{idle['p50']:.0f} ns", ""),
        ("releasing pays from", f"{pays / 1000:.1f} us" if pays else "not found", "two threads"),
    )


def measured(*rows: tuple[str, str, str]) -> None:
    """Hands figures to ./scripts/learn, when it is what runs us."""
    path = os.environ.get("TENFOLD_MEASURED")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            for what, value, against in rows:
                file.write(json.dumps({"lesson": "01", "what": what, "value": value, "against": against}) + "\n")


if __name__ == "__main__":
    main()
