"""Rates of batches and of processes."""

import pytest
import torch

from detinv.benchmarks import scaling
from detinv.benchmarks.scaling import by_batch_size, by_processes, timed_run
from detinv.errors import DetinvError
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

LAYOUTS = [
    Layout(torch.tensor([[20.0, 12.0, 44.0, 52.0]]), torch.tensor([1]), (64, 64), name) for name in ("a", "b", "c")
]
PRESET = load_preset("default")


def test_rates_are_images_times_steps_by_seconds(monkeypatch):
    # 10 steps of one image in 2 seconds, of three in 4.
    monkeypatch.setattr(scaling, "timed_run", lambda detector, layouts, *rest: (5.0, 6.0 + len(layouts)))
    one, three = by_batch_size(tiny_detector("retinanet"), LAYOUTS, PRESET, [1, 3], steps=10, rounds=2)
    assert one == {"batch_size": 1, "seconds_per_step": 0.2, "image_steps_per_second": pytest.approx(5)}
    assert three == {"batch_size": 3, "seconds_per_step": 0.4, "image_steps_per_second": pytest.approx(7.5)}


def test_processes_are_timed_from_the_first_to_the_last(monkeypatch):
    monkeypatch.setattr(scaling, "run_together", lambda *arguments: [(1.0, 4.0), (2.0, 6.0)][: arguments[-1]])
    one, two = by_processes(tiny_detector("retinanet"), LAYOUTS, PRESET, [1, 2], steps=10, rounds=1)
    assert one["image_steps_per_second"] == pytest.approx(10)  # 3 images, 10 steps, 3 seconds
    assert two["image_steps_per_second"] == pytest.approx(12)  # twice as many, 5 seconds
    assert two["threads"] == max(torch.get_num_threads() // 2, 1)


def test_first_steps_do_not_count():
    begun, ended = timed_run(tiny_detector("retinanet"), LAYOUTS[:1], PRESET, 2, 0)
    assert 0 < begun < ended


@pytest.mark.slow
def test_processes_run_side_by_side():
    (found,) = by_processes(tiny_detector("retinanet"), LAYOUTS[:1], PRESET, [2], steps=2, rounds=1)
    assert found["processes"] == 2
    assert found["image_steps_per_second"] > 0


@pytest.mark.slow
def test_a_process_that_fails_ends_all(capfd):
    broken = tiny_detector("retinanet")
    broken.model.head = None
    with pytest.raises(DetinvError, match="2 processes: one failed"):
        by_processes(broken, LAYOUTS[:1], PRESET, [2], steps=2, rounds=1)
    assert "Error" in capfd.readouterr().err
