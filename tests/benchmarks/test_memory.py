"""Growth is a slope, and what is reported is measured."""

import sys

import pytest
import torch

from detinv.benchmarks import memory
from detinv.benchmarks.memory import bench_memory, growth, peak
from detinv.errors import ConfigError
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

LAYOUT = Layout(torch.tensor([[20.0, 12.0, 44.0, 52.0]]), torch.tensor([1]), (64, 64), "one")


def test_growth_is_the_slope_of_the_second_half():
    level = [(step, 500.0 + 100 * min(step, 40)) for step in range(0, 100, 10)]
    assert growth(level) == pytest.approx(0, abs=1e-9)
    assert growth([(step, 500.0 + 0.25 * step) for step in range(0, 100, 10)]) == pytest.approx(0.25)
    assert growth([(1, 5.0)]) == 0
    assert growth([]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_sampled_over_steps_and_batches():
    found = bench_memory(tiny_detector("retinanet"), [LAYOUT], load_preset("default"), steps=4, batches=3)
    assert [number for number, _ in found["resident_by_step"]] == [1, 2, 3, 4]
    assert [number for number, _ in found["resident_by_batch"]] == [1, 2, 3]
    every = [size for _, size in found["resident_by_step"] + found["resident_by_batch"]]
    assert all(0 < size <= found["peak"] for size in [*every, found["before"]])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_held_is_seen():
    before, resident = peak(), memory.resident()
    held = torch.ones(30_000_000)
    assert memory.resident() - resident > 100
    assert peak() >= before
    del held


def test_a_system_that_does_not_tell_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_PAGES", tmp_path / "nothing")
    with pytest.raises(ConfigError, match="Linux"):
        bench_memory(tiny_detector("retinanet"), [LAYOUT], load_preset("default"), steps=1, batches=1)
