"""Exercise 3 is done when this passes: pytest 10_production_pipeline/exercises/test_03_resume.py"""

import runpy

import pytest
from production_pipeline import Pipeline
from tenfold_testing import exercise_file


@pytest.fixture
def resume():
    return runpy.run_path(str(exercise_file(__file__, ".py")))["resume"]


@pytest.fixture
def pipeline():
    return Pipeline(2).filter(lambda x: x % 3).map(lambda x: f"{x} → {x * x}")


WHOLE = "".join(f"{x} → {x * x}\n" for x in range(1000) if x % 3)


def test_from_the_start(resume, pipeline, tmp_path):
    path = tmp_path / "out"
    assert resume(pipeline, range(1000), path) == 666
    assert path.read_text(encoding="utf-8") == WHOLE
    assert resume(pipeline, range(1000), path) == 0
    assert path.read_text(encoding="utf-8") == WHOLE


@pytest.mark.parametrize("size", [0, 1, 3, 5, 6, 7, 8, 100, 5000, -1, -2])
def test_after_a_kill(resume, pipeline, tmp_path, size):
    path, content = tmp_path / "out", WHOLE.encode()
    left = content[:size] if size >= 0 else content[: len(content) + size]
    path.write_bytes(left)
    assert resume(pipeline, range(1000), path) == 666 - left.count(b"\n")
    assert path.read_bytes() == content


def test_a_source_that_dies_twice(resume, pipeline, tmp_path):
    def source(end):
        yield from range(end)
        raise ConnectionError

    path = tmp_path / "out"
    for end in (100, 400):
        with pytest.raises(ConnectionError):
            resume(pipeline, source(end), path)
    assert resume(pipeline, range(1000), path) > 0
    assert path.read_text(encoding="utf-8") == WHOLE
