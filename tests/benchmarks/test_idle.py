"""The share of the time in which a GPU waits."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from detinv.benchmarks import idle
from detinv.benchmarks.idle import IdleTime, idle_share


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ([], None),
        ([(5.0, 9.0)], 0.0),
        ([(5.0, 5.0)], 0.0),
        ([(6.0, 8.0), (0.0, 4.0), (8.0, 10.0)], 0.2),
        # Two streams: what runs beside a longer kernel hides nothing.
        ([(0.0, 10.0), (1.0, 2.0), (15.0, 20.0)], 0.25),
    ],
)
def test_idle_share(kernels, expected):
    assert idle_share(kernels) == (None if expected is None else pytest.approx(expected))


def test_named_regions_are_no_kernels(monkeypatch):
    def event(start, end, device=DeviceType.CUDA, named=False):
        return SimpleNamespace(
            time_range=SimpleNamespace(start=start, end=end), device_type=device, is_user_annotation=named
        )

    events = [event(0.0, 2.0), event(6.0, 8.0), event(0.0, 8.0, named=True), event(0.0, 9.0, DeviceType.CPU)]
    recorded = SimpleNamespace(start=lambda: None, stop=lambda: None, events=lambda: events)
    monkeypatch.setattr(idle, "profile", lambda activities: recorded)
    monkeypatch.setattr(idle, "now", lambda device: 0.0)
    watch, module = IdleTime(first=1, steps=2), SimpleNamespace(device=torch.device("cuda", 0))
    for step in range(4):
        watch.after_step(None, module, step)
    assert watch.found == {"idle_share": 0.5, "kernels_per_step": 1.0}
