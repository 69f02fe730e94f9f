"""Exercise 3 is done when this passes: pytest 05_atomic_operations/exercises/test_03_seqlock_reader.py"""

import pytest
from tenfold_testing import compile_module, exercise_file, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    return folder


def call(folder, expression):
    """In a child process with a limit: a reader that waits for ever must not stop the test."""
    child = run_child(f"import sys; sys.path.insert(0, {str(folder)!r}); import seqlock_reader as s; print({expression})", 60)
    assert child.returncode == 0, child.stderr
    return int(child.stdout)


def test_reads_what_was_written(folder):
    assert call(folder, "s.last_written(5)") == 5


def test_no_read_is_torn(folder):
    assert call(folder, "s.torn_reads(100_000)") == 0
