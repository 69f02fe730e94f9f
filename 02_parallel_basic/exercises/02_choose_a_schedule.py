"""Exercise 2. Which schedule ends first? The picture on the page shows how chunks reach threads; compute it.

Write `finish_time`. `costs` holds what each row costs, in order.

- "static": the rows are cut into `threads` runs of neighbouring rows before anything starts. Their lengths differ by at
  most one, the longer ones come first. Thread 0 gets the first run.
- "dynamic": whoever is free takes the next row. At the beginning all are free. It does not always win: when a costly row
  comes late, the others have nothing left to do meanwhile, and the runs of "static" may happen to fit better.

The picture is ready when the last thread has done its last row.
"""


def finish_time(costs: list[float], threads: int, schedule: str) -> float:
    """When the last thread ends, if everything starts at 0."""
    return 0.0
