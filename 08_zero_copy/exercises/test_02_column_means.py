"""Exercise 2 is done when this passes: pytest 08_zero_copy/exercises/test_02_column_means.py"""

import importlib.util
import sysconfig

import numpy as np
import pytest
from tenfold_testing import compile_module, exercise_file


@pytest.fixture(scope="module")
def column_means(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    path = folder / ("column_means" + sysconfig.get_config_var("EXT_SUFFIX"))
    spec = importlib.util.spec_from_file_location("column_means", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.column_means


TABLE = np.random.default_rng(1).normal(size=(12, 7))


@pytest.mark.parametrize(
    "table",
    [TABLE, np.asfortranarray(TABLE), TABLE[::2], TABLE[:, ::3], TABLE[::-1, ::-1], TABLE.T, np.broadcast_to(TABLE[0], (4, 7))],
    ids=["dense", "Fortran", "every other row", "every third column", "backwards", "transposed", "one row, four times"],
)
def test_every_layout(column_means, table):
    memory = np.full(2 * table.shape[1], 9.0)
    column_means(table, memory[::2])
    np.testing.assert_allclose(memory[::2], table.mean(axis=0), rtol=1e-14, atol=1e-15)
    assert np.all(memory[1::2] == 9.0), "only the view's items may be written"


def test_no_rows_and_no_columns(column_means):
    means = np.zeros(3)
    column_means(np.empty((0, 3)), means)
    assert np.isnan(means).all()
    column_means(np.empty((3, 0)), np.zeros(0))
