"""Functions of ours check shapes and types while tests run."""

import importlib
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from detinv.layouts.boxes import pairwise_iou
from tests.calls.checked import check_calls, unchecked

_MODULE = """
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


def areas(boxes: Float[Tensor, "box 4"], scores: Float[Tensor, "box"]) -> Float[Tensor, "box"]:
    return scores if len(scores) < 3 else scores[:2]


def stripes(height: int) -> Float[Tensor, "{height} 2"]:
    import torch

    return torch.zeros(min(height, 5), 2)


def half(number: float) -> float:
    return number / 2


@contextmanager
def lent(boxes: Float[Tensor, "box 4"]) -> Iterator[int]:
    yield len(boxes)


@dataclass(frozen=True)
class Pair:
    boxes: Float[Tensor, "box 4"]
    labels: Float[Tensor, "box"]

    @property
    def first(self) -> Float[Tensor, "4"]:
        return self.boxes[:1]

    @classmethod
    def empty(cls, sides: int) -> "Pair":
        import torch

        return cls(torch.zeros(0, sides), torch.zeros(0))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "checked_by_a_test").mkdir()
    (tmp_path / "checked_by_a_test" / "module.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    check_calls(("checked_by_a_test",))
    yield importlib.import_module("checked_by_a_test.module")
    for name in ("checked_by_a_test.module", "checked_by_a_test"):
        del sys.modules[name]


def test_what_is_declared_goes_through(module):
    assert len(module.areas(torch.zeros(2, 4), torch.zeros(2))) == 2
    assert len(module.areas(torch.zeros(1, 4), torch.zeros(1))) == 1
    assert module.half(3) == 1.5
    assert module.stripes(3).shape == (3, 2)
    assert len(module.Pair.empty(4).labels) == 0
    with module.lent(torch.zeros(2, 4)) as count:
        assert count == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda module: module.areas(torch.zeros(2, 3), torch.zeros(2)),
        lambda module: module.areas(torch.zeros(2, 4), torch.zeros(1)),
        lambda module: module.areas(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)),
        lambda module: module.areas(torch.zeros(3, 4), torch.zeros(3)),
        lambda module: module.stripes(6),
        lambda module: module.half("3"),
        lambda module: module.lent(torch.zeros(2, 5)).__enter__(),
        lambda module: module.Pair(torch.zeros(2, 4), torch.zeros(3)),
        lambda module: module.Pair(torch.zeros(2, 4), torch.zeros(2)).first,
        lambda module: module.Pair.empty(5),
    ],
    ids=["side", "sides of one name", "kind", "result", "side of an argument", "type", "context", "fields", "property"]
    + ["classmethod"],
)
def test_anything_else_is_refused(module, call):
    with pytest.raises(TypeCheckError):
        call(module)


def test_nothing_is_checked_where_that_is_asked_for(module):
    with unchecked():
        assert len(module.areas(torch.zeros(2, 3), torch.zeros(1))) == 1
        assert module.stripes(6).shape == (5, 2)
        assert module.half(True) == 0.5
        with pytest.raises(TypeError, match="unsupported operand"):
            module.half("3")
        assert module.Pair(torch.zeros(2, 5), torch.zeros(3)).first.shape == (1, 5)
    with pytest.raises(TypeCheckError):
        module.half("3")


def test_functions_of_ours_are_checked():
    with pytest.raises(TypeCheckError):
        pairwise_iou(torch.zeros(2, 4), torch.zeros(2, 5))
