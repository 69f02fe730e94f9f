"""Exercise 3 is done when this passes: pytest 03_performance_timing/exercises/test_03_read_google_benchmark.py"""

import json
import runpy

import pytest
from tenfold_testing import exercise_file


@pytest.fixture
def solved():
    return runpy.run_path(str(exercise_file(__file__, ".py")))


def entries(name: str, real: list[float], cpu: list[float], unit: str) -> list[dict]:
    """As Google Benchmark 1.7 writes them, less what is not asked for."""
    one = {"run_name": name, "repetitions": len(real), "threads": 1, "time_unit": unit}
    rows = [
        {**one, "name": name, "run_type": "iteration", "repetition_index": i, "iterations": 1000, "real_time": r, "cpu_time": c}
        for i, (r, c) in enumerate(zip(real, cpu))
    ]
    aggregate = {**one, "name": f"{name}_mean", "run_type": "aggregate", "aggregate_name": "mean", "iterations": len(real)}
    return [*rows, {**aggregate, "real_time": sum(real) / len(real), "cpu_time": sum(cpu) / len(cpu)}]


TEXT = json.dumps(
    {
        "context": {"num_cpus": 2, "library_build_type": "release"},
        "benchmarks": [
            *entries("read_the_clock", [30.0, 29.0, 900.0], [29.0, 28.0, 31.0], "ns"),
            *entries("sum/n:1048576/threads:2/real_time", [66.0, 70.0, 68.0, 64.0], [65.0, 69.0, 68.0, 63.0], "us"),
            *entries("pool/tasks:8/real_time", [2.0, 2.5, 1.5], [0.01, 0.02, 0.9], "ms"),
            *entries("sort/real_time", [1.0, 1.5, 2.0], [0.6, 0.9, 1.2], "ms"),
            *entries("fetch/real_time", [0.5, 0.25, 0.75], [0.1, 0.01, 0.02], "s"),
            {"name": "broken", "run_name": "broken", "run_type": "iteration", "error_occurred": True, "real_time": 0.0}
            | {"cpu_time": 0.0, "time_unit": "ns", "error_message": "no such file"},
        ],
    }
)


def test_medians_in_seconds(solved):
    found = solved["real_seconds"](TEXT)
    assert found == {
        "read_the_clock": pytest.approx(30e-9),
        "sum/n:1048576/threads:2/real_time": pytest.approx(67e-6),
        "pool/tasks:8/real_time": pytest.approx(2e-3),
        "sort/real_time": pytest.approx(1.5e-3),
        "fetch/real_time": pytest.approx(0.5),
    }


def test_who_works(solved):
    assert solved["waits_for_others"](TEXT) == ["pool/tasks:8/real_time", "fetch/real_time"], "in the file's order"
