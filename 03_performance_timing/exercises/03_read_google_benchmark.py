"""Exercise 3. `bench_x --benchmark_repetitions=9 --benchmark_out=x.json --benchmark_out_format=json` writes JSON.

Read it. Under "benchmarks" there is an entry per repetition (and others, see "run_type"), with "run_name", "real_time",
"cpu_time" and their "time_unit"; one that failed has "error_occurred": true
and counts for nothing; a run of which all failed is left out.
CPU time is that of the thread that called, so work of other threads is not in it.
"""


def real_seconds(text: str) -> dict[str, float]:
    """By run name: the median over its repetitions of the real time per iteration, in seconds."""
    return {}


def waits_for_others(text: str) -> list[str]:
    """The run names whose thread spent less than half of the real time on a CPU, by the medians; in the file's order."""
    return []
