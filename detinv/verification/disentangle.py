"""Disentangled losses: boxes alone show where something is, classes alone show what it is."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.paper.disentangle import Disentangle
from detinv.metrics.intervals import Interval
from detinv.verification.claim import Claim, as_interval, borne_out_claim, percent, with_interval
from detinv.verification.evidence import Range, borne_out, mean_power, not_contradicted
from detinv.verification.setup import VerificationSetup

_GROUP = "disentangle"
_CLS, _REG = "cls", "reg"
# Which detector is inverted for the layouts of which world, and which one judges.
_PAIRS = {
    "texture_retinanet": ("texture", "texture_fasterrcnn"),
    "shapes_maskrcnn": ("plain", "shapes_fasterrcnn"),
}
# In the world `texture`, where the outline does not tell the class: accuracy from which classes are seen, how far above
# chance it may lie where they are not, and the mean IoU from which boxes are found.
_SEEN, _ABOVE_CHANCE, _FOUND = 0.8, 0.2, 0.7
# A mean IoU of boxes that are not found.
_NOT_FOUND = 0.4


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 5 with two pairs of detectors.

    A second detector with two stages judges: it is given every object's own box.

    Returns:
        by inverted detector: its judge, chance level, number of objects, measures of each condition and differences.
    """
    measured: dict[str, Any] = {}
    for label, (world, judge) in _PAIRS.items():
        local = setup.experiment_setup(f"{_GROUP}-{label}", _GROUP, [label], setup.layouts(world, _GROUP))
        # Without the first stage's terms, which tell where objects are even when only classes are asked for.
        two_stage = label == "shapes_maskrcnn"
        experiment = Disentangle(
            conditions=[] if two_stage else [_CLS, _REG],
            rpn_off=[_CLS, _REG] if two_stage else [],
            judge=judge,
            references=False,
        )
        found = setup.run(experiment, local)[label]
        ending = ", rpn off" if two_stage else ""
        measured[label] = {
            "judge": judge,
            "chance": 1 / len(local.detector(label).class_names),
            "objects": found["objects"],
            "layouts": found["layouts"],
            "conditions": {part: found["conditions"][f"{part}{ending}"] for part in (_CLS, _REG)},
            "difference": found["differences"][f"{_CLS} - {_REG}{ending}"],
        }
    return measured


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return differences between the two conditions for both pairs, and levels where chance is known."""
    claims: list[Claim] = []
    for label, found in measured.items():
        counts = found["objects"], found["layouts"]
        claims += differences(label, found["judge"], found["difference"], *counts)
        if _PAIRS[label][0] == "texture":
            claims += levels(label, found["judge"], found["conditions"], *counts, found["chance"])
    return claims


def differences(label: str, judge: str, difference: Mapping[str, Any], objects: int, layouts: int) -> list[Claim]:
    """Boxes are found better with one part of the loss, classes with the other, object by object.

    Args:
        difference: of each measure, "cls" minus "reg", with its interval over layouts.
    """
    accuracy, iou = as_interval(difference["class_accuracy"]), as_interval(difference["box_iou"])
    iou = Interval(-iou.value, -iou.high, -iou.low)
    return [
        borne_out_claim(
            f"{_GROUP}/{label}-classes",
            f"{judge} classifies the objects better when {label} is inverted with classes alone than with boxes alone",
            "difference of class accuracy above 0, its whole interval too",
            with_interval(accuracy),
            f"{objects} objects of {layouts} layouts",
            "no difference",
            borne_out(accuracy, Range(least=0.0), left_out=layouts),
            {"class_accuracy": accuracy, "objects": objects, "layouts": layouts},
        ),
        borne_out_claim(
            f"{_GROUP}/{label}-boxes",
            f"{judge} finds the boxes better when {label} is inverted with boxes alone than with classes alone",
            "difference of box IoU above 0, its whole interval too",
            with_interval(iou),
            f"{objects} objects of {layouts} layouts",
            "no difference",
            borne_out(iou, Range(least=0.0), left_out=layouts),
            {"box_iou": iou, "objects": objects, "layouts": layouts},
        ),
    ]


def levels(
    label: str, judge: str, conditions: Mapping[str, Mapping[str, Any]], objects: int, layouts: int, chance: float
) -> list[Claim]:
    """Where the outline does not tell the class, boxes alone say nothing about it.

    Args:
        conditions: measures of "cls" and "reg", with their intervals.
        chance: class accuracy of guessing, in [0, 1].
    """
    iou = as_interval(conditions[_REG]["box_iou"])
    power = mean_power(iou, Range(least=_FOUND), _NOT_FOUND, layouts)
    return [
        Claim(
            f"{_GROUP}/{label}-reg-boxes",
            f"inverted with boxes alone, {label} shows {judge} boxes",
            f"mean box IoU at least {_FOUND:g}",
            with_interval(iou),
            f"{objects} objects of {layouts} layouts",
            f"a mean IoU of {_NOT_FOUND:g}",
            power,
            not_contradicted(iou, Range(least=_FOUND), power),
            {"box_iou": iou, "objects": objects},
        ),
        accuracy(
            f"{label}-reg-classes",
            f"inverted with boxes alone, {label} shows {judge} no classes",
            f"class accuracy at most {chance + _ABOVE_CHANCE:.0%} (chance: {chance:.0%})",
            conditions[_REG],
            objects,
            layouts,
            Range(most=chance + _ABOVE_CHANCE),
            _SEEN,
        ),
        accuracy(
            f"{label}-cls-classes",
            f"inverted with classes alone, {label} shows {judge} classes",
            f"class accuracy at least {_SEEN:.0%}",
            conditions[_CLS],
            objects,
            layouts,
            Range(least=_SEEN),
            chance + _ABOVE_CHANCE,
        ),
    ]


def accuracy(
    name: str,
    statement: str,
    expected: str,
    condition: Mapping[str, Any],
    objects: int,
    layouts: int,
    allowed: Range,
    violation: float,
) -> Claim:
    """Return a claim about the share of objects whose class is seen; its interval leaves out whole layouts.

    Args:
        condition: measures, with their intervals.
        violation: a share that is not allowed, and for which the power is given.
    """
    found = as_interval(condition["class_accuracy"])
    power = mean_power(found, allowed, violation, layouts)
    return Claim(
        f"{_GROUP}/{name}",
        statement,
        expected,
        percent(found),
        f"{objects} objects of {layouts} layouts",
        f"a share of {violation:.0%}",
        power,
        not_contradicted(found, allowed, power),
        {"share": found, "objects": objects, "layouts": layouts},
    )
