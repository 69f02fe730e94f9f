"""Exercise 1 is done when this passes: pytest 01_gil_release/exercises/test_01_release_it.py"""

from tenfold_testing import compile_module, exercise_file, runs_without_gil


def test_release_it(tmp_path, monkeypatch):
    compile_module(exercise_file(__file__, ".cpp"), tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import release_it

    assert release_it.longest_collatz(100_000) == 77_031
    assert runs_without_gil(lambda: release_it.longest_collatz(100_000)), "no other thread ran during the call"
