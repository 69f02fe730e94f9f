"""Mistake: sending everything before receiving anything, through bounded channels in a circle: all wait for all."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2] / "scripts" / "testing"))
from tenfold_testing import show_mistake  # noqa: E402

show_mistake(
    """
    import channels, threading

    questions, answers = channels.Channel(4), channels.Channel(4)

    def worker():
        for number in questions:
            answers.send(number * number)

    def wrong(numbers):
        for number in numbers:
            questions.send(number)  # full: the worker waits until somebody takes an answer, and we wait for the worker
        return [answers.recv() for _ in numbers]

    def right(numbers):
        left, squares = list(numbers), []
        while len(squares) < len(numbers):
            cases = [answers] + ([(questions, left[0])] if left else [])
            chosen, answer = channels.select(cases)  # whichever is possible
            if chosen is answers:
                squares.append(answer)
            else:
                left.pop(0)
        return squares

    threading.Thread(target=worker, daemon=True).start()
    assert {0}(range(100)) == [n * n for n in range(100)]
    print("done")
    """,
    expected="hung",
    limit=5,
)
