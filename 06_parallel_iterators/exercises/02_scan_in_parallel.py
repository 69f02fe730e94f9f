"""Exercise 2. A running sum needs the one before it, so how can threads share it? In two rounds. Write `scan`.

`scan(numbers, block, run)` returns the running sums of `numbers`: entry i is numbers[0] + ... + numbers[i].

Cut `numbers` into blocks of `block` (the last may be shorter). All work on numbers goes through `run(tasks)`: it calls the
functions in the list `tasks`, which take nothing, in any order and in several threads, and returns their results in the order of
the list. Call it twice:

1. each block's sum;
2. each block's running sums, beginning from the sum of all blocks before it. (Adding up the blocks' sums in between is yours:
   there are few of them.)

No task may touch more than one block.
"""


def scan(numbers: list[float], block: int, run) -> list[float]:
    """The running sums of `numbers`."""
    return run([lambda: numbers])[0]
