"""Equal inputs have equal hashes, in any process; whatever changes a result changes the hash."""

import functools
import operator
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pytest
import torch
from torch import nn

from detinv.errors import ConfigError
from detinv.inputs.fingerprint import file_fingerprint, settings_hash
from detinv.inversion.preset import load_preset


class Part:
    """Keeps its options to itself, as many classes do."""

    def __init__(self, strength, **others):
        self._strength = strength
        vars(self).update(others)

    def scaled(self, value):
        return value * self._strength


class Slotted:
    __slots__ = ("strength",)

    def __init__(self, strength):
        self.strength = strength


@dataclass(frozen=True)
class Cached:
    side: int
    cache: dict = field(default_factory=dict)

    @functools.cached_property
    def area(self):
        return self.side**2

    def __getstate__(self):
        return {"side": self.side}


class Kind(Enum):
    ONE = 1
    TWO = 2


def linear(bias):
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    module.bias.data.fill_(bias)
    return module


def scaling(factor):
    return lambda value: value * factor


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "make",
    [
        Part,
        Slotted,
        linear,
        scaling,
        generator,
        np.random.default_rng,
        lambda value: Part(value).scaled,
        lambda value: functools.partial(max, value),
        lambda value: Part(1.0, inner=[{"deep": {value}}]),
        lambda value: torch.tensor([value]),
        lambda value: (lambda x: x + 1) if value == 1 else (lambda x: x + 2),
        lambda value: Kind(value),
        lambda value: operator.itemgetter(value),
        lambda value: {value: None},
    ],
)
def test_values_wherever_they_are_kept_count(make):
    assert settings_hash(make(1)) == settings_hash(make(1)) != settings_hash(make(2))


def test_what_is_derived_does_not_count():
    fresh, used = Cached(3), Cached(3)
    used.cache["x"] = used.area
    assert settings_hash(fresh) == settings_hash(used) != settings_hash(Cached(4))


def test_hooks_do_not_count():
    plain, hooked = linear(0.0), linear(0.0)
    hooked.register_forward_hook(lambda *args: None)
    assert settings_hash(plain) == settings_hash(hooked)


def test_objects_may_refer_to_each_other():
    def pair(strength):
        one = Part(strength)
        one.other = Part(0, owner=one)
        return one

    assert settings_hash(pair(1)) == settings_hash(pair(1)) != settings_hash(pair(2))


def test_what_cannot_be_read_is_one_line():
    with pytest.raises(ConfigError, match=r"_thread\.lock: its content cannot be read"):
        settings_hash(Part(1.0, lock=threading.Lock()))


@pytest.mark.slow
def test_another_process_finds_the_same_hash():
    code = (
        "from detinv.inputs.fingerprint import settings_hash; from detinv.inversion.preset import load_preset;"
        "print(settings_hash([load_preset('default'), {'a', 'b', 'c'}]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == settings_hash([load_preset("default"), {"a", "b", "c"}])


def test_a_file_goes_by_its_content(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("one")
    first = file_fingerprint(path)
    os.utime(path, (1, 1))
    assert file_fingerprint(path) == first
    path.write_text("two")
    assert file_fingerprint(path) != first


def test_a_folder_goes_by_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    first = file_fingerprint(tmp_path)
    (tmp_path / "deep" / "a.png").write_bytes(b"1")
    second = file_fingerprint(tmp_path)
    (tmp_path / "deep" / "a.png").write_bytes(b"12")
    assert len({first, second, file_fingerprint(tmp_path)}) == 3


@pytest.mark.parametrize(
    "left", [".DS_Store", ".ipynb_checkpoints/a-checkpoint.png", "Thumbs.db", "deep/desktop.ini", "__pycache__/a.pyc"]
)
def test_what_programs_leave_in_a_folder_is_no_change_of_it(tmp_path, left):
    (tmp_path / "a.png").write_bytes(b"1")
    first = file_fingerprint(tmp_path)
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_bytes(b"1")
    assert file_fingerprint(tmp_path) == first


def test_a_hidden_folder_itself_goes_by_its_files(tmp_path):
    (tmp_path / ".photos").mkdir()
    first = file_fingerprint(tmp_path / ".photos")
    (tmp_path / ".photos" / "a.png").write_bytes(b"1")
    assert file_fingerprint(tmp_path / ".photos") != first


@pytest.mark.parametrize("results", ["", "study", "../photos/study"])
def test_results_that_are_written_into_a_folder_are_no_change_of_it(tmp_path, results):
    folder = tmp_path / "photos"
    (folder / "study").mkdir(parents=True)
    first = file_fingerprint(folder, folder / results)
    (folder / "study" / "a.json").write_bytes(b"1")
    assert file_fingerprint(folder, folder / results) == first


def test_a_folder_among_results_goes_by_its_files(tmp_path):
    (tmp_path / "study" / "photos").mkdir(parents=True)
    first = file_fingerprint(tmp_path / "study" / "photos", tmp_path / "study")
    (tmp_path / "study" / "photos" / "a.png").write_bytes(b"1")
    assert file_fingerprint(tmp_path / "study" / "photos", tmp_path / "study") != first


@pytest.mark.parametrize("path", ["gone", "a\0b", "a" * 5000])
def test_what_is_no_file_has_none(path, tmp_path):
    assert file_fingerprint(tmp_path / path) is None
