"""What a script or notebook defines itself counts with its code, as what it imports does."""

import subprocess
import sys

import pytest

SCRIPT = """
from dataclasses import dataclass
from functools import cached_property, wraps

import helper
from helper import shift
from torch import nn, no_grad, tensor

from detinv.inputs.fingerprint import settings_hash

FACTOR, UNUSED, COLOURS, CALLS = 1, 1, {"red": tensor([1.0, 0.0])}, 0

def scale(value):
    return FACTOR * value  # by how much

def again(value):
    return again(value - 1) if value > 0 else value

class Base:
    def most(self):
        return 7

@dataclass(frozen=True)
class Term(Base):
    weight: float = 1.0
    limit = 3

    def __call__(self, value):
        global CALLS
        CALLS += 1
        return [scale(value), again(value), COLOURS["red"], {"a", "b", "c"}, super().most()]

    @property
    def half(self):
        return self.weight / 2

    @cached_property
    def third(self):
        return self.weight / 3

    @no_grad()
    def shifted(self, value):
        return helper.twice(value)

    @staticmethod
    def fixed(value, by=2):
        return shift(value) * by

class Net(nn.Module):
    def __init__(self):
        super().__init__()

def update(pixels, step):
    pixels *= 0.5

before = settings_hash([Term(), update, Net])
Term()(1)
assert settings_hash([Term(), update, Net]) == before
print(before)
"""
HELPER = "def twice(value):\n    return 2 * value\n\n\ndef shift(value):\n    return value + 1\n"


def hashed(folder, script=SCRIPT, helper=HELPER):
    (folder / "mine.py").write_text(script)
    (folder / "helper.py").write_text(helper)
    done = subprocess.run([sys.executable, "mine.py"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return hashed(tmp_path_factory.mktemp("before"))


# Each starts a process of its own, which takes seconds; those that are like others are slow tests.
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            "FACTOR, UNUSED, COLOURS, CALLS = 1,", "FACTOR, UNUSED, COLOURS, CALLS = 2,", marks=pytest.mark.slow
        ),
        pytest.param("[1.0, 0.0]", "[1.0, 0.5]", marks=pytest.mark.slow),
        pytest.param("return FACTOR * value", "return FACTOR / value", marks=pytest.mark.slow),
        pytest.param("value - 1", "value - 2", marks=pytest.mark.slow),
        ("return 7", "return 8"),
        pytest.param("limit = 3", "limit = 4", marks=pytest.mark.slow),
        pytest.param("weight / 2", "weight / 4", marks=pytest.mark.slow),
        pytest.param("weight / 3", "weight / 4", marks=pytest.mark.slow),
        pytest.param("by=2", "by=3", marks=pytest.mark.slow),
        pytest.param("pixels *= 0.5", "pixels *= 0.6", marks=pytest.mark.slow),
        pytest.param(
            "super().__init__()\n\ndef", "super().__init__()\n        self.eval()\n\ndef", marks=pytest.mark.slow
        ),
    ],
)
def test_a_change_of_what_is_used_counts(old, new, before, tmp_path):
    assert old in SCRIPT
    assert hashed(tmp_path, SCRIPT.replace(old, new)) != before


def test_a_change_of_a_module_that_is_imported_counts(before, tmp_path):
    assert hashed(tmp_path, helper=HELPER.replace("+ 1", "+ 2")) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("# by how much", "# which is a factor", marks=pytest.mark.slow),
        pytest.param("UNUSED, COLOURS, CALLS = 1, 1,", "UNUSED, COLOURS, CALLS = 1, 2,", marks=pytest.mark.slow),
        pytest.param("print(before)", "print(before)\nprint(end='')", marks=pytest.mark.slow),
        ("\ndef again", "\n\n\ndef again"),
    ],
)
def test_nothing_else_does_and_every_process_finds_the_same(old, new, before, tmp_path):
    assert old in SCRIPT
    assert hashed(tmp_path, SCRIPT.replace(old, new)) == before
