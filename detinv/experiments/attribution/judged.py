"""The maps of one photograph's objects, and what the measures say of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.attribution.attribution import Attribution
from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.metrics.base import Truth
from detinv.attribution.metrics.object_set import ObjectRule
from detinv.attribution.metrics.preset import MetricPreset, measured
from detinv.attribution.metrics.randomisation import randomised, similarity, stages
from detinv.detectors.base import AbstractDetector
from detinv.errors import DetectorError
from detinv.layouts.layout import Layout

QUESTION = Question("class")
ORIGINAL = "as trained"


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """A photograph with its annotation, as the measures see it.

    Args:
        number: of the photograph.
        layout: in its pixels.
    """

    number: int
    image: UInt8[Tensor, "3 height width"]
    layout: Layout


@dataclass(frozen=True, eq=False)
class Chosen:
    """The objects of one photograph that count.

    Args:
        objects: detections.
        truths: of each.
        counts: how many detections were considered, and left out, and why.
    """

    objects: ExplainedObjects
    truths: list[Truth]
    counts: Mapping[str, int]


def chosen_objects(detector: AbstractDetector, one: JudgedImage, preset: MetricPreset, per_image: int | None) -> Chosen:
    """Return which detections of a photograph are explained; see `ObjectRule`."""
    rule = preset.objects if per_image is None else replace(preset.objects, per_image=per_image)
    return matched_objects(detector, one, rule)


def matched_objects(detector: AbstractDetector, one: JudgedImage, rule: ObjectRule) -> Chosen:
    """Return the detections of a photograph that match an annotated object, and count by the rule."""
    (found,) = detector.detect([one.image])
    rows, which, counts = rule.matched(found, one.layout)
    objects, unknown = detected_objects(detector, one.image, found.select(rows))
    known = [place for place in range(len(rows)) if place not in unknown]
    truths = [_truth(one.layout, int(which[place])) for place in known]
    return Chosen(objects, truths, {**counts, "no raw prediction": len(unknown), "explained": len(known)})


def judge(
    detector: AbstractDetector,
    one: JudgedImage,
    chosen: Chosen,
    preset: MetricPreset,
    methods: Mapping[str, AbstractMethod],
    seed: int,
) -> dict[str, Any]:
    """Explain the objects by all methods, and measure the maps; ready for JSON."""
    maps = explained(detector, one, chosen.objects, methods, seed)
    heats = torch.stack([torch.stack([each.heat() for each in mine.values()]) for mine in maps]) if maps else None
    entries = []
    if heats is not None:
        names = list(preset.higher_is_better)
        found = measured(preset, names, detector, one.image, chosen.objects, chosen.truths, heats, seed)
        for mine, values in zip(maps, found, strict=True):
            first = next(iter(mine.values()))
            entries.append(
                {
                    "class": first.class_names[first.label],
                    "score": first.score,
                    "box": list(first.box),
                    "measures": dict(zip(methods, values, strict=True)),
                }
            )
    return {"image": one.layout.id, "counts": dict(chosen.counts), "objects": entries}


def explained(
    detector: AbstractDetector,
    one: JudgedImage,
    objects: ExplainedObjects,
    methods: Mapping[str, AbstractMethod],
    seed: int,
) -> list[dict[str, Attribution]]:
    """Return for each object its map by each method."""
    found = explain_image(detector, one.image, objects, [QUESTION], methods, number=one.number, seed=seed)
    count = len(methods)
    return [
        {each.method: each for each in found.attributions[start : start + count]}
        for start in range(0, len(found.attributions), count)
    ]


def randomised_similarities(
    detector: AbstractDetector,
    images: Sequence[tuple[JudgedImage, Chosen]],
    methods: Mapping[str, AbstractMethod],
    seed: int,
) -> dict[str, dict[str, list[float]]]:
    """Compare maps with those of a network that is randomised stage by stage, from the output to the input.

    Returns:
        For each method, and for each stage together with all above it, one rank correlation for each object. An object
        that the randomised network cannot be asked about has none: NaN. No stages without an object.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in methods}
    if not images:
        return found
    before = [explained(detector, one, chosen.objects, methods, seed) for one, chosen in images]
    parts = stages(detector)
    for count in range(len(parts) + 1):
        label = ORIGINAL if count == 0 else parts[count - 1].name
        network = randomised(detector, parts[:count], seed)
        for (one, chosen), maps in zip(images, before, strict=True):
            try:
                after = explained(network, one, chosen.objects, methods, seed)
            except DetectorError:  # a query of the object was not chosen
                after = [{} for _ in maps]
            for mine, theirs in zip(maps, after, strict=True):
                for name in methods:
                    value = float("nan")
                    if theirs:
                        value = similarity(mine[name].heat(), theirs[name].heat(), mine[name].box)
                    found[name].setdefault(label, []).append(value)
    return found


def _truth(layout: Layout, number: int) -> Truth:
    x0, y0, x1, y1 = layout.boxes[number].tolist()
    others = torch.arange(len(layout)) != number
    mask = None if layout.masks is None else layout.masks[number]
    return Truth((x0, y0, x1, y1), layout.boxes[others], mask)
