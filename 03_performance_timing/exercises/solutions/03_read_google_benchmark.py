"""Exercise 3, solved. Aggregates repeat what the repetitions say; a run that failed has no time."""

import json
from collections import defaultdict

from performance_timing import median

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def medians(text: str, key: str) -> dict[str, float]:
    times: dict[str, list[float]] = defaultdict(list)
    for entry in json.loads(text)["benchmarks"]:
        if entry["run_type"] == "iteration" and not entry.get("error_occurred"):
            times[entry["run_name"]].append(entry[key] * UNITS[entry["time_unit"]])
    return {name: median(values) for name, values in times.items()}


def real_seconds(text: str) -> dict[str, float]:
    """By run name: the median over its repetitions of the real time per iteration, in seconds."""
    return medians(text, "real_time")


def waits_for_others(text: str) -> list[str]:
    """The run names whose thread spent less than half of the real time on a CPU, by the medians; in the file's order."""
    cpu = medians(text, "cpu_time")
    return [name for name, real in medians(text, "real_time").items() if cpu[name] < 0.5 * real]
