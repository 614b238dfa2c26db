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


# A process that has imported torch forks for each folder, which saves the others seconds.
FORKS = """
import os, runpy, sys
import torch
import detinv.inputs.fingerprint

for folder in sys.argv[1:]:
    child = os.fork()
    if not child:
        os.chdir(folder)
        sys.path.insert(0, folder)
        runpy.run_path("mine.py", run_name="__main__")
        sys.stdout.flush()
        # Python's own end would touch all that torch has loaded.
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""

CHANGES = [
    ("FACTOR, UNUSED, COLOURS, CALLS = 1,", "FACTOR, UNUSED, COLOURS, CALLS = 2,"),
    ("[1.0, 0.0]", "[1.0, 0.5]"),
    ("return FACTOR * value", "return FACTOR / value"),
    ("value - 1", "value - 2"),
    ("return 7", "return 8"),
    ("limit = 3", "limit = 4"),
    ("weight / 2", "weight / 4"),
    ("weight / 3", "weight / 4"),
    ("by=2", "by=3"),
    ("pixels *= 0.5", "pixels *= 0.6"),
    ("super().__init__()\n\ndef", "super().__init__()\n        self.eval()\n\ndef"),
]
OF_THE_HELPER = ("+ 1", "+ 2")
NO_CHANGES = [
    ("# by how much", "# which is a factor"),
    ("UNUSED, COLOURS, CALLS = 1, 1,", "UNUSED, COLOURS, CALLS = 1, 2,"),
    ("print(before)", "print(before)\nprint(end='')"),
    ("\ndef again", "\n\n\ndef again"),
]


def written(folder, script=SCRIPT, helper=HELPER):
    (folder / "mine.py").write_text(script)
    (folder / "helper.py").write_text(helper)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The hash that a process of its own finds, started as users do."""
    words, folder = [sys.executable, "mine.py"], written(tmp_path_factory.mktemp("before"))
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    """The hashes after each change."""
    folders = {}
    for change in (*CHANGES, *NO_CHANGES, OF_THE_HELPER):
        text = HELPER if change == OF_THE_HELPER else SCRIPT
        assert change[0] in text
        changed = {"helper" if change == OF_THE_HELPER else "script": text.replace(*change)}
        folders[change] = written(tmp_path_factory.mktemp("changed"), **changed)
    words = [sys.executable, "-c", FORKS, *folders.values()]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(zip(folders, lines, strict=True))


@pytest.mark.parametrize("change", [*CHANGES, OF_THE_HELPER], ids=str)
def test_a_change_of_what_is_used_or_imported_counts(change, before, hashes):
    assert len(hashes[change]) == len(before) > 0
    assert hashes[change] != before


@pytest.mark.parametrize("change", NO_CHANGES, ids=str)
def test_nothing_else_does_and_every_process_finds_the_same(change, before, hashes):
    assert hashes[change] == before
