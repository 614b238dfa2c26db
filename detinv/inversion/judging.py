"""How good inverted images are, by what detectors themselves report in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision, box_and_mask_ap
from detinv.metrics.redetection import redetection

_DECIMALS = 3


def judge(layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]) -> dict[str, Any]:
    """Average precision (percent) and redetection counts; mask AP as "mask_AP" where both sides have masks."""
    scores = box_and_mask_ap(layouts, detections, class_names)
    rounded = {name: round(value, _DECIMALS) for name, value in scores.items()}
    return {**rounded, **redetection(layouts, detections)}


def judge_all(
    layouts: Sequence[Layout], readings: Mapping[str, Sequence[Detections]], class_names: Sequence[str]
) -> dict[str, Any]:
    """`judge` of what each detector sees; of several, the worst of each number, then all of them by detector."""
    judged = {}
    for name, detections in readings.items():
        control = {"AP_of_other_layouts": _mismatched(layouts, detections, class_names)}
        judged[name] = judge(layouts, detections, class_names) | control
    if len(judged) == 1:
        return next(iter(judged.values()))
    everyone = list(judged.values())
    shared = [key for key in everyone[0] if all(key in one and one[key] is not None for one in everyone)]
    # Many false positives are bad, as is what the control finds; of all else a lot is good.
    bad = ("false_positives", "AP_of_other_layouts")
    worst = {key: (max if key in bad else min)(one[key] for one in everyone) for key in shared}
    return worst | {f"{name}/{key}": value for name, one in judged.items() for key, value in one.items()}


def _mismatched(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]
) -> float | None:
    """AP of the same detections against the next image's layout: a control that must be near zero."""
    if len(layouts) < 2 or len({layout.image_size for layout in layouts}) > 1:
        return None
    return round(average_precision([*layouts[1:], layouts[0]], detections, class_names)["AP"], _DECIMALS)
