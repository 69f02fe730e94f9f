"""Exercise 1 is done when this passes: pytest 04_thread_pool/exercises/test_01_fork_and_join.py"""

import pytest
from tenfold_testing import compile_module, exercise_file


@pytest.fixture(scope="module")
def count_primes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import fork_and_join

        yield fork_and_join.count_primes


@pytest.mark.parametrize("threads", [1, 2, 4, 7])
def test_same_answer(count_primes, threads):
    assert [count_primes(n, threads)[0] for n in (0, 3, 1000, 1001, 100_000)] == [0, 1, 168, 168, 9592]


def test_the_work_is_shared(count_primes):
    assert any(count_primes(1_000_000, 2)[1] > 0 for _ in range(10)), "no worker has stolen anything"
