"""The store of an experiment: values and images with a record of what they were made from."""

import json
import math

import numpy as np
import pytest
import torch

from detinv.experiments.common.store import ResultStore
from tests.fakes import block_image


def test_values_are_computed_once_and_plain(tmp_path):
    computed = []

    def compute():
        computed.append(1)
        return {"n": np.int64(3), "missing": math.nan, 5: (1.5, torch.tensor([2, 3])), "text": "é"}

    expected = {"n": 3, "missing": None, "5": [1.5, [2, 3]], "text": "é"}
    for _ in range(2):
        assert ResultStore(tmp_path).value("a/numbers", {"input": (1, 2)}, compute) == expected
    assert len(computed) == 1
    content = json.loads((tmp_path / "values" / "a" / "numbers.json").read_text())
    assert content == {"provenance": {"input": [1, 2]}, "value": expected}
    assert ResultStore(tmp_path).value("b", {}, lambda: None) is None


@pytest.mark.parametrize(
    ("provenance", "changed"),
    [({"a": 1, "b": 3}, "b"), ({"a": 1}, "b"), ({"a": 1, "b": 2, "c": None, "d": 0}, "d"), ({"x": 0}, "a, b, x")],
)
def test_values_made_from_something_else_are_computed_again(tmp_path, provenance, changed):
    messages = []
    store = ResultStore(tmp_path, log=messages.append)
    store.value("key", {"a": 1, "b": 2}, lambda: "old")
    assert store.value("key", provenance, lambda: "new") == "new"
    assert store.value("key", provenance, lambda: "newer") == "new"
    assert messages == [f"key: computed again; changed: {changed}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "key: computed again; key.json cannot be read"),
        ("[1, 2]", "key: computed again; changed: everything"),
        ('{"AP": 3}', "key: computed again; changed: everything"),
    ],
)
def test_files_of_another_kind_are_replaced(tmp_path, content, message):
    messages = []
    store = ResultStore(tmp_path, log=messages.append)
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "key.json").write_text(content)
    assert store.value("key", {"a": 1}, lambda: 5) == 5
    assert len(messages) == 1 and messages[0].startswith(message)
    assert store.value("key", {"a": 1}, lambda: 6) == 5


@pytest.mark.parametrize("key", ["", "a b", "../a", "a/../b", "/a", "a/", "a//b", ".", ".hidden", "ä", "a\n"])
def test_keys_are_names_of_folders_inside(tmp_path, key):
    store = ResultStore(tmp_path)
    with pytest.raises(ValueError, match="letters, digits"):
        store.value(key, {}, lambda: 1)
    with pytest.raises(ValueError, match="letters, digits"):
        store.images(key, "drawing", ["a"], [{}], [[0]], lambda _: [block_image((8, 8))])
    assert not list(tmp_path.rglob("*"))


def test_only_batches_with_an_outdated_image_are_made(tmp_path):
    made = []

    def make(members):
        made.append(list(members))
        return [block_image((8, 8), index) for index in members]

    store, names, batches = ResultStore(tmp_path), ["a", "b", "c"], [[0, 2], [1]]
    before = store.images("key", "drawing", names, [{"n": 0}, {"n": 1}, {"n": 2}], batches, make)
    after = store.images("key", "drawing", names, [{"n": 0}, {"n": 1}, {"n": 3}], batches, make)
    assert made == [[0, 2], [1], [0, 2]]
    assert all(torch.equal(image, block_image((8, 8), index)) for index, image in enumerate(before))
    assert all(map(torch.equal, before, after))
