"""Measure whether a detector takes a class from the companion where its map has the maximum there.

python -m tests.attribution.measurements.companion_causes --seed 90210 --count 200 --others 60
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detinv.attribution.core.forward import run_forward
from detinv.attribution.core.measures import maximum
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.verification.planted_evidence import Box, companion_boxes, found_objects, in_box
from detinv.worlds.context import ContextWorld
from tests.attribution.mistakes.subjects import background_of

CLASS = Question("class")
# Pixels: side of the windows, distance of their centres, and by which a maximum may miss the companion.
WINDOW, STEP, MARGIN = 12.0, 4.0, 1.0
# How many of a map's peaks are tried, their least height as a share of the maximum, and in pixels distance and radius.
PEAKS, HEIGHT, APART, RADIUS = 3, 0.2, 12.0, 6.0


@dataclass
class Case:
    """What one object's class logit loses.

    Args:
        label: name of its class.
        on_companion: whether the map's maximum lies there.
        companion, itself: what is lost without the companion, and without the object.
        peak_on_companion: whether the peak of the map lies there that costs most, if a disc around it is hidden.
        windows: what is lost without a single window, the most on the companion and on the object.
    """

    label: str
    on_companion: bool
    companion: float
    itself: float
    peak_on_companion: bool
    windows: tuple[float, float] | None = None


@torch.no_grad()
def logit(detector: AbstractDetector, image: Tensor, objects: ExplainedObjects) -> float:
    """Return the class logit at the object's raw prediction."""
    return float(run_forward(detector, image, objects, [CLASS]).scalars([CLASS]))


def without(image: Tensor, background: Tensor, box: Box, margin: float = 0.0) -> Tensor:
    """Return the image with the background in a box that is larger by a margin."""
    x0, y0, x1, y1 = (
        max(0, round(edge)) for edge in (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
    )
    changed = image.clone()
    changed[:, y0:y1, x0:x1] = background[:, y0:y1, x0:x1]
    return changed


def cases(seed: int, count: int, others: int) -> Iterator[Case]:
    """Yield objects with a companion; windows are tried where the maximum lies on it, and for the first others."""
    detector, method = load_detector("context_retinanet"), {"default": load_method("default")}
    names, world = list(detector.class_names), ContextWorld(seed=seed)
    taken = 0
    for found in found_objects(detector, world):
        beside = companion_boxes(found, names)
        if beside is None:
            continue
        image, background, there = found.scene.image, background_of(world, found.number), beside[0]
        (one,) = explain_image(detector, image, found.objects, [CLASS], method).attributions
        before = logit(detector, image, found.objects)

        def lost(box: Box, margin: float = 0.0) -> float:
            return before - logit(detector, without(image, background, box, margin), found.objects)  # noqa: B023

        def cost(peak: tuple[float, float]) -> float:
            return before - logit(detector, without_disc(image, peak), found.objects)  # noqa: B023

        heat = one.heat()
        hit, dearest = (in_box(there, point, MARGIN) for point in (maximum(heat), max(peaks(heat), key=cost)))
        case = Case(names[found.label], hit, lost(there, MARGIN), lost(found.box, MARGIN), dearest)
        if hit or others:
            others -= not hit
            case.windows = max(map(lost, windows(there))), max(map(lost, windows(found.box)))
        yield case
        taken += 1
        if taken == count:
            return


def distances(size: torch.Size, point: tuple[float, float]) -> Tensor:
    """Return the distance of each pixel's centre from a point (x, y)."""
    rows, columns = (torch.arange(side) + 0.5 for side in size[-2:])
    return torch.hypot(columns[None] - point[0], rows[:, None] - point[1])


def peaks(heat: Tensor) -> list[tuple[float, float]]:
    """Return the highest places of a map, each outside of the neighbourhoods of those before."""
    found, left = [maximum(heat)], heat
    while len(found) < PEAKS:
        left = left.masked_fill(distances(heat.shape, found[-1]) < APART, 0)
        if left.max() < HEIGHT * heat.max():
            break
        found.append(maximum(left))
    return found


def without_disc(image: Tensor, point: tuple[float, float]) -> Tensor:
    """Return the image with its mean colour in a disc around a point."""
    mean = image.float().mean((1, 2), keepdim=True).round().to(image.dtype)
    return torch.where(distances(image.shape, point) < RADIUS, mean, image)


def windows(box: Box) -> Iterator[Box]:
    """Yield squares whose centres lie in a box."""
    half = WINDOW / 2
    for y in np.arange(box[1] + STEP / 2, box[3], STEP):
        for x in np.arange(box[0] + STEP / 2, box[2], STEP):
            yield x - half, y - half, x + half, y + half


def spread(values: Sequence[float]) -> str:
    """Return mean, 95 % interval and range."""
    if len(values) < 2:
        return f"of {len(values)} objects: {[round(value, 2) for value in values]}"
    numbers = np.array(values)
    half = 1.96 * numbers.std(ddof=1) / len(numbers) ** 0.5
    return f"{numbers.mean():.2f} +- {half:.2f} (from {numbers.min():.2f} to {numbers.max():.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=90210, help="of the scenes")
    parser.add_argument("--count", type=int, default=200, help="objects")
    parser.add_argument("--others", type=int, default=60, help="without the maximum there, for which windows are tried")
    options = parser.parse_args()
    everything = list(cases(options.seed, options.count, options.others))
    dearest = sum(one.peak_on_companion for one in everything)
    print(f"the peak whose disc costs most is on the companion: {dearest} of {len(everything)}")
    for there in (True, False):
        rows = [one for one in everything if one.on_companion == there]
        counts = {name: sum(one.label == name for one in rows) for name in sorted({one.label for one in everything})}
        print(f"maximum {'on the companion' if there else 'elsewhere'}: {len(rows)} objects, {counts}")
        print(f"  logit lost without the companion {spread([one.companion for one in rows])}")
        print(f"  logit lost without the object {spread([one.itself for one in rows])}")
        tried = [one.windows for one in rows if one.windows is not None]
        more = sum(companion > own for companion, own in tried)
        print(f"  without one window, on the companion {spread([companion for companion, _ in tried])}")
        print(f"  without one window, on the object {spread([own for _, own in tried])}")
        print(f"  the most on the companion: {more} of {len(tried)}", flush=True)
