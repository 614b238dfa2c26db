"""Measure maps where the evidence is planted: the tables of docs/attribution.md.

python tests/attribution/planted_truth.py --seed 90210 --count 200
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest

from detinv.attribution.core.measures import energy_share, inside_box, maximum, nearest_edge
from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.layouts.boxes import pairwise_iou
from detinv.worlds.base import AbstractWorld
from detinv.worlds.context import COMPANIONS
from detinv.worlds.part import PartWorld
from detinv.worlds.registry import load_world
from detinv.worlds.scene import Scene

Box = tuple[float, float, float, float]
LOOK_ALIKES = {"bulb": "ball", "ball": "bulb", "gear": "hoop", "hoop": "gear"}
SIDES = ("left", "top", "right", "bottom")
# Pixels by which a maximum may miss the patch, or the companion.
PATCH_MARGIN, COMPANION_MARGIN = 2.0, 1.0


@dataclass(frozen=True)
class Found:
    """A correctly detected object, and the planted one that it is."""

    scene: Scene
    objects: ExplainedObjects
    planted: int

    @property
    def box(self) -> Box:
        x0, y0, x1, y1 = self.scene.layout.boxes[self.planted].tolist()
        return x0, y0, x1, y1


def correct_detections(detector: AbstractDetector, world: AbstractWorld) -> Iterator[Found]:
    """Yield detections above 0.5 of the right class, IoU above 0.5, scene after scene."""
    number = 0
    while True:
        scene = world.scene(number)
        number += 1
        (detections,) = detector.detect([scene.image])
        objects, _ = detected_objects(detector, scene.image, detections.above(0.5))
        if not len(objects):
            continue
        iou, best = pairwise_iou(objects.boxes, scene.layout.boxes).max(1)
        right = (iou > 0.5) & (scene.layout.labels[best] == objects.labels)
        for row in right.nonzero()[:, 0].tolist():
            yield Found(scene, objects.select(torch.tensor([row])), int(best[row]))


def patch(box: Box) -> Box:
    """Return where the world `part` plants an object's patch."""
    (cx, cy), half = PartWorld.patch_centre, PartWorld.patch_half_side
    x, y, width, height = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    return (
        x + (cx - half) * width,
        y + (cy - half) * height,
        x + (cx + half) * width,
        y + (cy + half) * height,
    )


def companion(found: Found, names: Sequence[str]) -> tuple[Box, Box] | None:
    """Return the box of an object's companion, and the same on the opposite side; None if it has none."""
    planted = COMPANIONS.get(names[int(found.scene.layout.labels[found.planted])])
    if planted is None:
        return None
    x0, y0, x1, y1 = found.box
    for (u0, v0, u1, v1), label in zip(
        found.scene.layout.boxes.tolist(), found.scene.layout.labels.tolist(), strict=True
    ):
        if names[label] != planted.name:
            continue
        for side in planted.sides:
            upright = side in ("above", "below")
            gap = {"above": y0 - v1, "below": v0 - y1, "left": x0 - u1, "right": u0 - x1}[side]
            aside = abs(u0 + u1 - x0 - x1) / 2 if upright else abs(v0 + v1 - y0 - y1) / 2
            if -2 <= gap <= 6 and aside <= 8:
                mirrored = (u0, y0 + y1 - v1, u1, y0 + y1 - v0) if upright else (x0 + x1 - u1, v0, x0 + x1 - u0, v1)
                return (u0, v0, u1, v1), mirrored
    return None


def contains(box: Box, point: tuple[float, float], margin: float) -> bool:
    """Tell whether a point lies in a box that is larger by `margin` on all sides."""
    across, down = box[0] - margin <= point[0] <= box[2] + margin, box[1] - margin <= point[1] <= box[3] + margin
    return across and down


def share(hits: Sequence[bool]) -> str:
    """Return a percentage with Wilson's 95 % interval."""
    low, high = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return f"{100 * sum(hits) / len(hits):.1f} % [{100 * low:.0f}, {100 * high:.0f}], n = {len(hits)}"


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def measure(name: str, world_name: str, methods: Sequence[str], seed: int, count: int) -> None:
    """Print what the methods' maps of one detector show of the planted truth."""
    detector, made = load_detector(name), {method: load_method(method) for method in methods}
    names, world = list(detector.class_names), load_world(world_name, seed=seed)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    taken = 0
    for found in correct_detections(detector, world):
        if taken == count:
            break
        label = names[int(found.objects.labels[0])]
        beside = companion(found, names) if world_name == "context" else None
        if world_name == "context" and beside is None:
            continue
        taken += 1
        questions = [Question("class"), Question("contrast")]
        if world_name == "context":
            questions[1] = Question("contrast", names.index(LOOK_ALIKES[label]))
        elif world_name == "plain":
            questions = [Question(side) for side in SIDES]
        for one in explain_image(detector, found.scene.image, found.objects, questions, made).attributions:
            heat, size = one.heat(), (one.photograph.shape[1], one.photograph.shape[2])
            point = maximum(heat)
            if world_name == "plain":
                kind, row = "sides", {"hit": nearest_edge(point, found.box) == one.question}
            elif beside is None:
                area = inside_box(patch(found.box), size)
                relative = float(area.sum()) / float(inside_box(found.box, size).sum())
                hit = contains(patch(found.box), point, PATCH_MARGIN)
                kind, row = one.question, {"hit": hit, "energy": energy_share(heat, area) / relative}
            else:
                there, mirrored = beside
                kind = one.question
                row = {
                    "hit": contains(there, point, COMPANION_MARGIN),
                    "mirrored": contains(mirrored, point, COMPANION_MARGIN),
                    "there": energy_share(heat, inside_box(there, size)),
                    "opposite": energy_share(heat, inside_box(mirrored, size)),
                }
            results.setdefault((one.method, kind), []).append(row)
    for (method, kind), rows in results.items():
        line = f"{name}, {method}, {kind}: {share([row['hit'] for row in rows])}"
        if "energy" in rows[0]:
            line += f"; energy in the patch over its share of the box {mean([row['energy'] for row in rows]):.1f}"
        if "mirrored" in rows[0]:
            ratio = mean([row["there"] for row in rows]) / mean([row["opposite"] for row in rows])
            line += f"; mirrored {share([row['mirrored'] for row in rows])}; energy there over mirrored {ratio:.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=90210, help="of the scenes")
    parser.add_argument("--count", type=int, default=200, help="objects for each detector")
    options = parser.parse_args()
    for name in ("part_retinanet", "part_fasterrcnn"):
        measure(name, "part", ("default", "odam", "grad_cam", "gradient"), options.seed, options.count)
    for name in ("context_retinanet", "context_fasterrcnn"):
        measure(name, "context", ("default", "odam"), options.seed, options.count)
    for name in ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn", "shapes_maskrcnn"):
        measure(name, "plain", ("default", "odam"), options.seed, options.count)
