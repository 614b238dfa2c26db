"""Maps of objects in the worlds, and where their maxima and energy lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from detinv.attribution.core.forward import run_forward
from detinv.attribution.core.measures import energy_share, inside_box, maximum, nearest_edge
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.methods.base import AbstractMethod
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.detectors.targets import SIDES
from detinv.layouts.boxes import pairwise_iou
from detinv.verification.planted_evidence import (
    LOOK_ALIKES,
    Box,
    companion_boxes,
    found_objects,
    in_box,
    patch_box,
)
from detinv.verification.setup import VerificationSetup
from detinv.worlds.counterfactual import ExchangedBodies, ExchangedPatches, HiddenCompanions
from detinv.worlds.registry import load_world
from detinv.worlds.scene import Scene

GROUP = "attribution"
FAMILIES = ("retinanet", "fasterrcnn")
ARCHITECTURES = ("retinanet", "fcos", "fasterrcnn", "maskrcnn")
# Pixels by which a maximum may miss the patch, and the companion.
_PATCH_MARGIN, _COMPANION_MARGIN = 2.0, 1.0
_CLASS = Question("class")
# Of the world `context`: a class with a companion, and one that has none and no look-alike.
_ALONE = "star"
_SCORE, _IOU = 0.5, 0.5


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Explain objects of the worlds by the default method.

    Returns:
        By detector, one entry for each object (True and False, or a number):
        "part": "hit", whether the maximum for the class lies in the object's patch; "energy", the share of the energy
        in the patch, divided by the patch's share of the box; "other", whether the maximum lies in another object's
        patch. "random": the same hits for networks with random weights.
        "context": "class", "contrast" and "mirrored", whether the maximum lies on the companion, for the class, for
        the contrast with the look-alike, and for that contrast opposite the companion, where that place is in the
        image; "there" and "opposite", shares of the contrast's energy, of the same objects; "alone", whether the
        maximum of a class without companion lies in its own box.
        "sides": by side, whether the maximum is nearest to that edge.
        "outline": distance of the class's maximum from the object's outline in pixels, negative outside.
        "causes": whether the class goes with an exchanged "patch" and stays when the "body" is exchanged; whether the
        contrast falls by half without the "companion", and whether that of a class without one ("hoop") does not, in
        scenes where the companions of others are taken away.
    """
    count, seed = setup.sample_sizes[GROUP].count, 7 + setup.seed
    method = load_method("default")
    part, random, causes, context = {}, {}, {}, {}
    for family in FAMILIES:
        name = f"part_{family}"
        setup.say(f"{name}: maps of {count} objects")
        detector = load_detector(name)
        part[name], causes[name] = _part(detector, method, seed, count)
        random[name] = _random(load_detector(name, weights="random"), method, seed, count)
        name = f"context_{family}"
        setup.say(f"{name}: maps of {count} objects")
        detector = load_detector(name)
        context[name], causes[name] = _context(detector, method, seed, count)
    sides, outline = {}, {}
    for name in (f"shapes_{architecture}" for architecture in ARCHITECTURES):
        setup.say(f"{name}: maps of the four sides of {count} objects")
        sides[name] = _sides(load_detector(name), method, seed, count)
    for name in (f"{world}_{family}" for world in ("texture", "shape") for family in FAMILIES):
        setup.say(f"{name}: maps of {count} objects")
        outline[name] = _from_outline(load_detector(name), method, name.partition("_")[0], seed, count)
    return {"part": part, "random": random, "context": context, "sides": sides, "outline": outline, "causes": causes}


def _heats(
    detector: AbstractDetector,
    method: AbstractMethod,
    scene: Scene,
    objects: ExplainedObjects,
    questions: Sequence[Question],
) -> list[Tensor]:
    """Return one map for each object and question, in the frame of the image."""
    found = explain_image(detector, scene.image, objects, questions, {"default": method})
    return [one.heat() for one in found.attributions]


def _part(
    detector: AbstractDetector, method: AbstractMethod, seed: int, count: int
) -> tuple[dict[str, list[Any]], dict[str, list[bool]]]:
    """Return where the maps lie; whether the class goes with the patch, and whether it stays when the rest changes."""
    exchanged = {"patch": ExchangedPatches(seed=seed), "body": ExchangedBodies(seed=seed)}
    causes: dict[str, list[bool]] = {cause: [] for cause in exchanged}
    rows: dict[str, list[Any]] = {"hit": [], "energy": [], "other": []}
    for found in found_objects(detector, load_world("part", seed=seed), count):
        (heat,) = _heats(detector, method, found.scene, found.objects, [_CLASS])
        size = (heat.shape[0], heat.shape[1])
        area = inside_box(patch_box(found.box), size)
        relative = float(area.sum()) / float(inside_box(found.box, size).sum())
        rows["hit"].append(in_box(patch_box(found.box), maximum(heat), _PATCH_MARGIN))
        rows["energy"].append(energy_share(heat, area) / relative)
        others = [box for index, box in enumerate(_boxes(found.scene)) if index != found.planted]
        if others:
            rows["other"].append(any(in_box(patch_box(box), maximum(heat), _PATCH_MARGIN) for box in others))
        for cause, world in exchanged.items():
            scene = world.scene(found.number)
            wanted = int(scene.layout.labels[found.planted])
            causes[cause].append(_detected_as(detector, scene, found.planted) == wanted)
    return rows, causes


def _boxes(scene: Scene) -> list[Box]:
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in scene.layout.boxes.tolist()]


def _random(detector: AbstractDetector, method: AbstractMethod, seed: int, count: int) -> list[bool]:
    """Return whether the maximum lies in the patch, for a network that finds nothing: at the planted boxes."""
    world, number = load_world("part", seed=seed), 0
    hits: list[bool] = []
    while len(hits) < count:
        scene = world.scene(number)
        objects = annotated_objects(detector, scene.image, scene.layout.boxes, scene.layout.labels)
        for heat, box in zip(_heats(detector, method, scene, objects, [_CLASS]), _boxes(scene), strict=True):
            hits.append(in_box(patch_box(box), maximum(heat), _PATCH_MARGIN))
        number += 1
    return hits[:count]


def _detected_as(detector: AbstractDetector, scene: Scene, planted: int) -> int | None:
    """Return the class of the best detection at an object; None if there is none."""
    detections = detector.detect([scene.image])[0].above(_SCORE)
    if not len(detections):
        return None
    near = pairwise_iou(detections.boxes, scene.layout.boxes[planted][None])[:, 0] > _IOU
    return int(detections.labels[near][detections.scores[near].argmax()]) if bool(near.any()) else None


def _context(
    detector: AbstractDetector, method: AbstractMethod, seed: int, count: int
) -> tuple[dict[str, list[Any]], dict[str, list[bool]]]:
    names = list(detector.class_names)
    world, hidden = load_world("context", seed=seed), HiddenCompanions(seed=seed)
    rows: dict[str, list[Any]] = {key: [] for key in ("class", "contrast", "mirrored", "there", "opposite", "alone")}
    causes: dict[str, list[bool]] = {"companion": [], "hoop": []}
    # Half of the objects of this world have a companion.
    for found in found_objects(detector, world):
        name, beside = names[found.label], companion_boxes(found, names)
        if beside is not None and len(rows["class"]) < count:
            question = Question("contrast", names.index(LOOK_ALIKES[name]))
            of_class, heat = _heats(detector, method, found.scene, found.objects, [_CLASS, question])
            size = (heat.shape[0], heat.shape[1])
            there, mirrored = beside
            rows["class"].append(in_box(there, maximum(of_class), _COMPANION_MARGIN))
            rows["contrast"].append(in_box(there, maximum(heat), _COMPANION_MARGIN))
            if mirrored is not None:
                rows["mirrored"].append(in_box(mirrored, maximum(heat), _COMPANION_MARGIN))
                rows["there"].append(energy_share(heat, inside_box(there, size)))
                rows["opposite"].append(energy_share(heat, inside_box(mirrored, size)))
            causes["companion"].append(
                not _keeps(detector, question, found.scene, hidden.scene(found.number), found.objects)
            )
        elif name == "hoop" and len(causes["hoop"]) < count // 3:
            question, after = Question("contrast", names.index(LOOK_ALIKES[name])), hidden.scene(found.number)
            if differ(found.scene, after):
                causes["hoop"].append(_keeps(detector, question, found.scene, after, found.objects))
        elif name == _ALONE and len(rows["alone"]) < count // 3:
            (heat,) = _heats(detector, method, found.scene, found.objects, [Question("contrast")])
            rows["alone"].append(in_box(found.box, maximum(heat), _COMPANION_MARGIN))
        if len(rows["class"]) >= count and min(len(causes["hoop"]), len(rows["alone"])) >= count // 3:
            break
    return rows, causes


def differ(before: Scene, after: Scene) -> bool:
    """Tell whether anything was changed in a scene: where nothing was, a contrast that stays shows nothing."""
    return not torch.equal(before.image, after.image)


@torch.no_grad()
def _keeps(
    detector: AbstractDetector, question: Question, before: Scene, after: Scene, objects: ExplainedObjects
) -> bool:
    """Tell whether an object's contrast is still more than half as large in another version of its scene."""
    first, second = (
        float(run_forward(detector, scene.image, objects, [question]).scalars([question])) for scene in (before, after)
    )
    return second > first / 2


def _sides(detector: AbstractDetector, method: AbstractMethod, seed: int, count: int) -> dict[str, list[bool]]:
    rows: dict[str, list[bool]] = {side: [] for side in SIDES}
    for found in found_objects(detector, load_world("plain", seed=seed), count):
        heats = _heats(detector, method, found.scene, found.objects, [Question(side) for side in SIDES])
        for side, heat in zip(SIDES, heats, strict=True):
            rows[side].append(nearest_edge(maximum(heat), found.box) == side)
    return rows


def _from_outline(detector: AbstractDetector, method: AbstractMethod, world: str, seed: int, count: int) -> list[float]:
    distances = []
    for found in found_objects(detector, load_world(world, seed=seed), count):
        (heat,) = _heats(detector, method, found.scene, found.objects, [_CLASS])
        assert found.scene.layout.masks is not None
        mask = found.scene.layout.masks[found.planted].numpy()
        x, y = maximum(heat)
        inside, outside = distance_transform_edt(np.pad(mask, 1)), distance_transform_edt(~mask)
        row, column = int(y), int(x)
        distances.append(float(inside[row + 1, column + 1] - outside[row, column]))
    return distances
