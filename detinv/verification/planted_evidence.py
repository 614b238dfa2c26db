"""Objects that a detector with planted evidence finds correctly, and where that evidence lies in the image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.detectors.base import AbstractDetector
from detinv.layouts.boxes import pairwise_iou
from detinv.worlds.base import AbstractWorld
from detinv.worlds.context import COMPANIONS
from detinv.worlds.part import PartWorld
from detinv.worlds.scene import Scene

Box = tuple[float, float, float, float]

LOOK_ALIKES = {"bulb": "ball", "ball": "bulb", "gear": "hoop", "hoop": "gear"}
"""Classes of the world `context` that only their companion tells apart."""
# Of a detection: the score above which it counts, and the IoU with its object.
_SCORE, _IOU = 0.5, 0.5
# Pixels between an object and its companion, and by which their centres may be apart along its edge.
_GAP, _ASIDE = (-2.0, 6.0), 8.0


@dataclass(frozen=True)
class FoundObject:
    """An object that was found with its own class.

    Args:
        number: of the scene in its world.
        scene: with the object.
        objects: the detection, and the raw prediction that it came from.
        planted: number of the object in the scene's layout.
    """

    number: int
    scene: Scene
    objects: ExplainedObjects
    planted: int

    @property
    def box(self) -> Box:
        """XYXY of the planted object, in pixels of the image."""
        x0, y0, x1, y1 = self.scene.layout.boxes[self.planted].tolist()
        return x0, y0, x1, y1

    @property
    def label(self) -> int:
        """Its class."""
        return int(self.objects.labels[0])


def found_objects(detector: AbstractDetector, world: AbstractWorld, count: int | None = None) -> Iterator[FoundObject]:
    """Yield objects found with a score and an IoU above 0.5 and the right class, scene by scene.

    Args:
        count: of objects; endless by default.
    """
    number = taken = 0
    while count is None or taken < count:
        scene = world.scene(number)
        (detections,) = detector.detect([scene.image])
        objects, _ = detected_objects(detector, scene.image, detections.above(_SCORE))
        if len(objects):
            iou, best = pairwise_iou(objects.boxes, scene.layout.boxes).max(1)
            right = (iou > _IOU) & (scene.layout.labels[best] == objects.labels)
            for row in right.nonzero()[: None if count is None else count - taken, 0].tolist():
                yield FoundObject(number, scene, objects.select(torch.tensor([row])), int(best[row]))
                taken += 1
        number += 1


def patch_box(box: Box) -> Box:
    """Return where the world `part` plants the patch of an object with this box."""
    (cx, cy), half = PartWorld.patch_centre, PartWorld.patch_half_side
    x, y, width, height = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    return (
        x + (cx - half) * width,
        y + (cy - half) * height,
        x + (cx + half) * width,
        y + (cy + half) * height,
    )


def companion_boxes(found: FoundObject, names: Sequence[str]) -> tuple[Box, Box | None] | None:
    """Return the box of an object's companion in the world `context`, and its mirror image beyond the object.

    None for an object that has no companion. A mirror image whose centre lies outside the image is None: no map could
    point there.
    """
    planted = COMPANIONS.get(names[int(found.scene.layout.labels[found.planted])])
    if planted is None:
        return None
    x0, y0, x1, y1 = found.box
    layout = found.scene.layout
    for (u0, v0, u1, v1), label in zip(layout.boxes.tolist(), layout.labels.tolist(), strict=True):
        if names[label] != planted.name:
            continue
        for side in planted.sides:
            upright = side in ("above", "below")
            gap = {"above": y0 - v1, "below": v0 - y1, "left": x0 - u1, "right": u0 - x1}[side]
            aside = abs(u0 + u1 - x0 - x1) / 2 if upright else abs(v0 + v1 - y0 - y1) / 2
            if _GAP[0] <= gap <= _GAP[1] and aside <= _ASIDE:
                mirrored = (u0, y0 + y1 - v1, u1, y0 + y1 - v0) if upright else (x0 + x1 - u1, v0, x0 + x1 - u0, v1)
                height, width = layout.image_size
                centre = (mirrored[0] + mirrored[2]) / 2, (mirrored[1] + mirrored[3]) / 2
                return (u0, v0, u1, v1), mirrored if in_box((0, 0, width, height), centre, 0) else None
    return None


def in_box(box: Box, point: tuple[float, float], margin: float) -> bool:
    """Tell whether a point lies in a box that is larger by `margin` pixels on all sides."""
    across, down = box[0] - margin <= point[0] <= box[2] + margin, box[1] - margin <= point[1] <= box[3] + margin
    return across and down
