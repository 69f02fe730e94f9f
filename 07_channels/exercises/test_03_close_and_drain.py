"""Exercise 3 is done when this passes: pytest 07_channels/exercises/test_03_close_and_drain.py"""

import subprocess

import pytest
from tenfold_testing import compile_module, exercise_file, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    return folder


def outcome(folder, code):
    """What the child prints; it is ended after 6 s."""
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(folder)!r})",
        "import threading, time",
        "from close_and_drain import Queue",
    ]
    try:
        child = run_child("\n".join([*lines, code]), limit=6)
    except subprocess.TimeoutExpired:
        return "it hangs"
    return child.stdout + child.stderr


def test_open_it_works_as_before(folder):
    assert outcome(folder, "q = Queue(2); print(q.send(1), q.send(2), q.receive(), q.receive())") == "True True 1 2\n"


def test_closed_it_drains(folder):
    code = "q = Queue(5); q.send(1); q.send(2); q.close(); print(q.send(3), q.receive(), q.receive(), q.receive(), q.receive())"
    assert outcome(folder, code) == "False 1 2 None None\n"


@pytest.mark.parametrize(("call", "expected"), [("receive()", [None] * 3), ("send(7)", [False] * 3)])
def test_closing_wakes_everybody(folder, call, expected):
    code = "\n".join(
        [
            "q = Queue(1)",
            "q.send(0)" if "send" in call else "",
            "results = []",
            f"threads = [threading.Thread(target=lambda: results.append(q.{call})) for _ in range(3)]",
            "for thread in threads: thread.start()",
            "time.sleep(0.2)",
            "q.close()",
            "for thread in threads: thread.join()",
            "print(results)",
        ]
    )
    assert outcome(folder, code) == f"{expected}\n"
