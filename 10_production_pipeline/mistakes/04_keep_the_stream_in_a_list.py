"""Mistake: a list of everything, in front of the pipeline and behind it. Bounded queues in between do not help."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import resource
    from production_pipeline import Pipeline

    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 500_000_000,) * 2)  # what this program may have

    def records():
        return (bytes(100_000) for _ in range(10_000))  # 1 GB, one by one

    pipeline = Pipeline(2, queue_size=64).map(lambda record: record + b"!")

    def wrong():
        return sum(len(record) for record in pipeline.run(list(records())).items)

    def right():
        return sum(len(record) for record in pipeline.stream(records()))

    try:
        total = {0}()
        print(f"{total:,} bytes went through")
        print("done")
    except MemoryError:
        print("MemoryError")
    """,
    expected="MemoryError",
    limit=60,
)
