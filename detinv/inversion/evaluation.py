"""Evaluation of inverted images by the detections in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from detinv.layouts.layout import Detections, Layout
from detinv.layouts.sources import LayoutSource
from detinv.metrics.coco_ap import average_precision, box_and_mask_ap
from detinv.metrics.cues import orientation_agreement
from detinv.metrics.redetection import redetection
from detinv.worlds.sources import WorldLayouts, by_label

_DECIMALS = 3


def evaluate(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    crowds: Sequence[Layout] | None = None,
    truth: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compute average precision (percent) and redetection counts; "mask_AP" where layouts and detections have masks.

    Args:
        crowds, truth: of annotated photographs; see `load_annotated`.
    """
    scores = box_and_mask_ap(layouts, detections, class_names, truth)
    rounded = {name: round(value, _DECIMALS) for name, value in scores.items()}
    return {**rounded, **redetection(layouts, detections, crowds=crowds)}


def evaluate_all(
    layouts: Sequence[Layout], member_detections: Mapping[str, Sequence[Detections]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Evaluate each detector's detections; of several detectors, the worst of each number, then all by detector.

    Args:
        layouts: targets of the images.
        member_detections: of each detector, by name, image by image.
        class_names: names of the classes that the labels number.
    """
    evaluated = {}
    for name, detections in member_detections.items():
        control = {"AP_of_other_layouts": _mismatched(layouts, detections, class_names)}
        evaluated[name] = evaluate(layouts, detections, class_names) | control
    if len(evaluated) == 1:
        return next(iter(evaluated.values()))
    everyone = list(evaluated.values())
    shared = [key for key in everyone[0] if all(key in one and one[key] is not None for one in everyone)]
    # False positives and the control's AP should be low, everything else high.
    bad = ("false_positives", "AP_of_other_layouts")
    worst = {key: (max if key in bad else min)(one[key] for one in everyone) for key in shared}
    return worst | {f"{name}/{key}": value for name, one in evaluated.items() for key, value in one.items()}


def planted_cues(
    source: Sequence[Layout] | LayoutSource,
    layouts: Sequence[Layout],
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return how many objects show the stripes that their world gives them; nothing for layouts of no such world.

    Args:
        source: where the layouts come from; only a world says which orientation each class was given.
        layouts: targets of the images, in their pixels.
        images: inverted images.
        class_names: names of the classes that the labels number.

    Returns:
        "striped_objects", and as a share from 0 to 1 "planted_orientation" and "planted_orientation/<class>".
    """
    if not isinstance(source, WorldLayouts):
        return {}
    planted = by_label(source.world.planted_orientations, class_names)
    if not planted:
        return {}
    found = orientation_agreement(layouts, images, planted)
    by_class = {f"planted_orientation/{class_names[k]}": round(v, _DECIMALS) for k, v in found["per_class"].items()}
    return {"striped_objects": found["objects"], "planted_orientation": round(found["share"], _DECIMALS), **by_class}


def _mismatched(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]
) -> float | None:
    """AP of the same detections against the next image's layout: a control that must be near zero."""
    if len(layouts) < 2 or len({layout.image_size for layout in layouts}) > 1:
        return None
    return round(average_precision([*layouts[1:], layouts[0]], detections, class_names)["AP"], _DECIMALS)
