"""A full step against one of the plain loop: ratios are of the same rounds, and only a RetinaNet has such a loop."""

import statistics

import pytest

from detinv.benchmarks import against_reference
from detinv.benchmarks.against_reference import bench_against_reference
from detinv.errors import ConfigError
from detinv.inversion.preset import load_preset
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS


def test_warm_up_does_not_count_and_ratios_are_those_of_the_rounds(monkeypatch):
    made = []

    class Watched(against_reference.Turns):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(against_reference, "Turns", Watched)
    detector = tiny_detector("retinanet")
    found = bench_against_reference(
        detector, LAYOUTS[0], load_preset("code_retinanet"), rounds=3, steps_per_round=2, warmup=1
    )
    (turns,) = made
    seconds = {name: values[1:] for name, values in turns.seconds.items()}
    assert {name: len(values) for name, values in seconds.items()} == {"step": 3, "reference": 3, "unmodified": 3}
    assert found["seconds"] == {name: statistics.median(values) / 2 for name, values in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["reference"], seconds["step"], strict=True)]
    assert found["reference_to_step"]["median"] == statistics.median(ratios)
    assert not any(parameter.requires_grad for parameter in detector.parameters()), "the loop works with a copy"


def test_only_a_retinanet_has_a_plain_loop():
    with pytest.raises(ConfigError, match="inverts a RetinaNet"):
        bench_against_reference(tiny_detector("fcos"), LAYOUTS[0], load_preset("code_fcos"), rounds=2)
