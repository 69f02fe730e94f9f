"""Exercise 3 is done when this passes: pytest 01_gil_release/exercises/test_03_hear_ctrl_c.py"""

import pytest
from tenfold_testing import compile_module, exercise_file, interrupt_child, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    return folder


def test_same_answer(folder):
    child = run_child(
        f"import sys; sys.path.insert(0, {str(folder)!r}); import hear_ctrl_c; print(hear_ctrl_c.count_perfect(9000))"
    )
    assert child.stdout == "4\n", child.stderr


def test_ctrl_c_ends_it(folder):
    child = interrupt_child(
        f"""
        import sys; sys.path.insert(0, {str(folder)!r})
        import hear_ctrl_c
        print("ready")
        try:
            hear_ctrl_c.count_perfect(10**9)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        limit=10,
    )
    assert child.stdout == "interrupted\n", child.stderr
