"""Disentangled losses: boxes alone do not name objects, classes alone do not place them."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.paper.disentangle import NOISE, Disentangle
from detinv.verification.claim import Claim
from detinv.verification.disentangle import accuracy, differences
from detinv.verification.evidence import Range
from detinv.verification.real.samples import SampleLayouts, photographed_layouts
from detinv.verification.setup import VerificationSetup

_GROUP, _SIZE = "disentangle", "real_disentangle"
# Which detector judges the images of which one.
_JUDGES = {"fastestdet": "nanodet_m", "nanodet_m": "yolox_nano", "yolox_nano": "nanodet_m"}
_CLS, _REG = "cls", "reg"
# Of objects: share that may be named although their class was not asked for, and a violation. By chance it is 1 of 80.
_NAMED, _VIOLATION = 0.2, 0.5


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 5 on layouts of photographs, or on the bundled ones where there are none; another detector judges.

    The bundled ones are too few for shares of objects, which are no independent trials, to be decided.

    Returns:
        by detector: its judge, number of objects, measures of each condition and of noise, and differences.
    """
    measured = {}
    count, annotations = setup.sample_sizes[_SIZE].count, setup.annotations
    source = SampleLayouts(count) if annotations is None else photographed_layouts(annotations, count, setup.seed)
    for label, judge in _JUDGES.items():
        local = setup.experiment_setup(f"real-{_GROUP}-{label}", _SIZE, [label], source)
        found = setup.run(Disentangle([_CLS, _REG], [], judge), local)[label]
        measured[label] = {
            "judge": judge,
            "objects": found["objects"],
            "layouts": found["layouts"],
            "conditions": found["conditions"],
            "difference": found["differences"][f"{_CLS} - {_REG}"],
        }
    return measured


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the differences between the two conditions, what boxes alone name, and noise as a control."""
    claims = []
    for label, found in measured.items():
        judge, counts = found["judge"], (found["objects"], found["layouts"])
        claims += differences(label, judge, found["difference"], *counts)
        claims += [
            few_named(
                f"{label}-reg-classes",
                f"inverted with boxes alone, {label} shows {judge} no classes",
                found["conditions"][_REG],
                *counts,
            ),
            few_named(
                f"control-{label}-noise",
                f"control: start noise shows {judge} none of {label}'s classes",
                found["conditions"][NOISE],
                *counts,
            ),
        ]
    return claims


def few_named(name: str, statement: str, condition: Mapping[str, Any], objects: int, layouts: int) -> Claim:
    """Few objects have the class that was not asked for."""
    expected = f"class accuracy at most {_NAMED:.0%} (chance: 1 of 80)"
    return accuracy(name, statement, expected, condition, objects, layouts, Range(most=_NAMED), _VIOLATION)
