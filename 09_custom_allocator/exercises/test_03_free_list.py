"""Exercise 3 is done when this passes: pytest 09_custom_allocator/exercises/test_03_free_list.py"""

import random

import pytest
from tenfold_testing import compile_module, exercise_file, run_child


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exercise")
    compile_module(exercise_file(__file__, ".cpp"), folder)
    return folder


def outcome(folder, code):
    child = run_child("\n".join(["import sys", f"sys.path.insert(0, {str(folder)!r})", "from free_list import Pool", code]))
    return child.stdout + child.stderr


def test_each_block_once(folder):
    code = """
pool = Pool(40, 100)
blocks = sorted(pool.allocate() for _ in range(100))
print(blocks[0] != 0, len(set(blocks)), min(b - a for a, b in zip(blocks, blocks[1:])) >= 40, pool.allocate())
"""
    assert outcome(folder, code) == "True 100 True 0\n"


def test_last_in_first_out(folder):
    code = """
pool = Pool(16, 10)
a, b, c = (pool.allocate() for _ in range(3))
for block in (a, c, b):
    pool.deallocate(block)
print([pool.allocate() for _ in range(3)] == [b, c, a], pool.allocate() not in (0, a, b, c))
"""
    assert outcome(folder, code) == "True True\n"


def test_what_is_written_stays(folder):
    code = f"""
import random, ctypes
pool, rng, mine = Pool(24, 50), random.Random({random.Random(3).randrange(100)}), {{}}
for step in range(5000):
    if mine and rng.random() < 0.5:
        block = rng.choice(list(mine))
        assert ctypes.string_at(block, 24) == bytes([mine.pop(block)]) * 24
        pool.deallocate(block)
    else:
        block = pool.allocate()
        assert (block == 0) == (len(mine) == 50) and block not in mine, "out of order"
        if block:
            mine[block] = step % 256
            pool.fill(block, 24, step % 256)
print("done")
"""
    assert outcome(folder, code) == "done\n"
