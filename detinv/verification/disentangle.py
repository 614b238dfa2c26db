"""Parts of the loss: boxes alone show where something is, classes alone what it is."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.protocols.disentangle import Disentangle
from detinv.metrics.intervals import Interval
from detinv.verification.claim import Claim, percent, shown
from detinv.verification.means import Means

PART = "disentangle"
_CLS, _REG = "cls", "reg"
# Of the world `texture`, where the class is no part of the outline: accuracy from which classes are seen, how far above
# chance it may lie where they are not, and IoU from which a box is found.
_SEEN, _ABOVE_CHANCE, _FOUND = 0.8, 0.2, 0.7


def check(means: Means) -> list[Claim]:
    """Figure 5, judged by a second detector with two stages, which is shown every object's own box."""
    claims: list[Claim] = []
    for world, label, judge in (
        ("texture", "texture_retinanet", "texture_fasterrcnn"),
        ("plain", "shapes_maskrcnn", "shapes_fasterrcnn"),
    ):
        bench = means.bench(f"{PART}-{label}", PART, [label], means.layouts(world, PART))
        # Without a first stage's terms, through which classes alone would still be told where.
        two_stage = label == "shapes_maskrcnn"
        experiment = Disentangle(
            conditions=[] if two_stage else [_CLS, _REG],
            rpn_off=[_CLS, _REG] if two_stage else [],
            judge=judge,
            references=False,
        )
        found = means.run(experiment, bench)[label]
        ending = ", rpn off" if two_stage else ""
        claims += apart(label, judge, found["differences"][f"{_CLS} - {_REG}{ending}"])
        if world == "texture":
            chance = 1 / len(bench.detector(label).class_names)
            claims += levels(label, judge, found["conditions"], chance)
    return claims


def apart(label: str, judge: str, difference: Mapping[str, Any]) -> list[Claim]:
    """Object by object, boxes are found better by the one part, and classes by the other."""
    accuracy, iou = Interval(*difference["class_accuracy"]), Interval(*difference["box_iou"])
    return [
        Claim(
            f"disentangle/{label}-classes",
            f"{judge} reads the class better from {label} inverted with classes alone than with boxes alone",
            "difference of class accuracy above 0, its whole interval too",
            shown(accuracy),
            accuracy.low > 0,
            {"class_accuracy": accuracy},
        ),
        Claim(
            f"disentangle/{label}-boxes",
            f"{judge} finds the boxes better from {label} inverted with boxes alone than with classes alone",
            "difference of box IoU above 0, its whole interval too",
            shown(Interval(-iou.value, -iou.high, -iou.low)),
            iou.high < 0,
            {"box_iou": iou},
        ),
    ]


def levels(label: str, judge: str, conditions: Mapping[str, Mapping[str, Any]], chance: float) -> list[Claim]:
    """Where the class is no part of the outline, boxes alone say nothing of it."""
    reg, cls = conditions[_REG], conditions[_CLS]
    found, blind, seen = (
        Interval(*values) for values in (reg["box_iou"], reg["class_accuracy"], cls["class_accuracy"])
    )
    return [
        Claim(
            f"disentangle/{label}-reg",
            f"inverted with boxes alone, {label} shows {judge} boxes but no classes",
            f"box IoU at least {_FOUND:g}; class accuracy at most {_ABOVE_CHANCE:.0%} above chance ({chance:.0%})",
            f"IoU {shown(found)}, accuracy {percent(blind)}",
            found.value >= _FOUND and blind.value <= chance + _ABOVE_CHANCE,
            {"box_iou": found, "class_accuracy": blind},
        ),
        Claim(
            f"disentangle/{label}-cls",
            f"inverted with classes alone, {label} shows {judge} classes",
            f"class accuracy at least {_SEEN:.0%}",
            percent(seen),
            seen.value >= _SEEN,
            {"class_accuracy": seen},
        ),
    ]
