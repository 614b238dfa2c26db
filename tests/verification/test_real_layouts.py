"""On which layouts disentangled losses are measured: those of photographs, where there are some."""

from types import SimpleNamespace

import pytest

from detinv.layouts.sources import CocoLayouts
from detinv.verification.real.disentangle import measure
from detinv.verification.real.samples import SampleLayouts
from detinv.verification.setup import SampleSize


@pytest.mark.parametrize(("annotations", "kind"), [("instances.json", CocoLayouts), (None, SampleLayouts)])
def test_photographs_come_first(annotations, kind):
    asked = []

    def experiment_setup(name, size, detectors, source):
        asked.append(source)

    found = {"objects": 3, "layouts": 2, "conditions": {}, "differences": {"cls - reg": {}}}
    labels = ("fastestdet", "nanodet_m", "yolox_nano")
    setup = SimpleNamespace(
        sample_sizes={"real_disentangle": SampleSize(count=2)},
        annotations=annotations,
        seed=0,
        experiment_setup=experiment_setup,
        run=lambda experiment, local: dict.fromkeys(labels, found),
    )
    assert set(measure(setup)) == set(labels)
    assert len(asked) == 3 and all(isinstance(source, kind) for source in asked)
