"""Exercise 3 is done when this passes: pytest 02_parallel_basic/exercises/test_03_stop_the_region.py"""

import pytest
from tenfold_testing import compile_module, exercise_file, interrupt_child, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder, "-fopenmp")
    return folder


def test_same_answer(folder):
    child = run_child(f"""
        import sys; sys.path.insert(0, {str(folder)!r})
        import stop_the_region
        print([stop_the_region.count_collatz(100_000, threads) for threads in (1, 2, 4)])
    """)
    assert child.stdout == "[49458, 49458, 49458]\n", child.stderr


def test_ctrl_c_ends_it(folder):
    child = interrupt_child(
        f"""
        import sys; sys.path.insert(0, {str(folder)!r})
        import stop_the_region
        print("ready")
        try:
            stop_the_region.count_collatz(10**12, 2)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        limit=10,
    )
    assert child.stdout == "interrupted\n", child.stderr
