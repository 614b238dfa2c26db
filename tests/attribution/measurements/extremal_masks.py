"""Measure the masks of extremal perturbation on trained detectors: a table of docs/attribution.md.

python -m tests.attribution.measurements.extremal_masks part_retinanet --count 30
python -m tests.attribution.measurements.extremal_masks yolox_nano --images DIR --count 10
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.measures import energy_share, inside_box
from detinv.attribution.core.objects import ExplainedObjects, detected_objects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.smoothing import smoothed
from detinv.attribution.core.versions import version_scalars
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.methods.perturbations.extremal_perturbation import ExtremalPerturbation
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import load_detector
from detinv.verification.planted_evidence import found_objects, in_box, patch_box
from detinv.worlds.registry import load_world
from tests.attribution.measurements.photographed import LEAST_SCORE, photographed

VARIANTS = ("preserve", "delete", "dual")


def planted(detector: AbstractDetector, seed: int, count: int) -> Iterator[tuple[Tensor, ExplainedObjects]]:
    """Yield scenes of the world `part` with the objects that are found there."""
    every = found_objects(detector, load_world("part", seed=seed), count)
    for _, group in groupby(every, key=lambda one: one.number):
        mine = list(group)
        scene = mine[0].scene
        objects, _ = detected_objects(detector, scene.image, detector.detect([scene.image])[0].above(LEAST_SCORE))
        rows = [int((objects.boxes - one.objects.boxes).abs().sum(1).argmin()) for one in mine]
        yield scene.image, objects.select(torch.tensor(rows))


def turned(mask: Tensor, box: Tensor) -> Tensor:
    """Return a mask turned by 180 degrees about the centre of a box; what comes from beyond the image is zero."""
    height, width = mask.shape
    x, y = (int((box[0] + box[2]).round()) - 1, int((box[1] + box[3]).round()) - 1)
    found = torch.zeros_like(mask)
    for row in range(max(0, y - height + 1), min(height, y + 1)):
        low, high = max(0, x - width + 1), min(width, x + 1)
        found[row, low:high] = mask[y - row, x - high + 1 : x - low + 1].flip(0)
    return found


@torch.no_grad()
def scores(detector: AbstractDetector, image: Tensor, one: ExplainedObjects, mask: Tensor) -> list[float]:
    """Return the object's score on the image, where the mask is blurred, and where all but the mask is; the same for
    the mask turned about the box's centre."""
    pixels, frame, size = canvas_of(detector, image)
    blurred = pixels.clone()
    inside = (0, slice(None), slice(0, size[0]), slice(0, size[1]))
    blurred[inside] = smoothed(pixels[inside], 0.09 * max(size))
    box = frame.to_canvas(one.boxes)[0]
    versions = [pixels]
    for part in (mask, turned(mask, box)):
        versions += [pixels + (blurred - pixels) * part, blurred + (pixels - blurred) * part]
    found = version_scalars(detector, torch.cat(versions), size, frame, one, [Question("score")])
    return [float(value) for value in found.flatten()]


def measure(
    name: str, folder: Path | None, seed: int, count: int, area: float, steps: int, variants: Sequence[str] = VARIANTS
) -> None:
    """Print where the masks of each variant lie, and what becomes of the scores."""
    detector = load_detector(name)
    extremal = cast(ExtremalPerturbation, load_method("extremal_perturbation"))
    methods = {one: replace(extremal, variant=one, areas=(area,), steps=steps) for one in variants}
    rows: dict[str, list[list[float]]] = {variant: [] for variant in variants}
    for image, objects in planted(detector, seed, count) if folder is None else photographed(detector, folder, count):
        for one in explain_image(detector, image, objects, [Question("class")], dict(methods)).attributions:
            heat, size = one.heat(), (image.shape[1], image.shape[2])
            number = int((objects.boxes - torch.tensor(one.box)).abs().sum(1).argmin())
            ys, xs = torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5
            total = float(heat.sum())
            centre = (float((heat * xs).sum()) / total, float((heat * ys[:, None]).sum()) / total)
            region = patch_box(one.box) if folder is None else one.box
            area_in = inside_box(region, size)
            whole = inside_box(one.box, size) if folder is None else torch.ones_like(area_in)
            times = energy_share(heat, area_in) / (float(area_in.sum()) / float(whole.sum()))
            alone = objects.select(torch.tensor([number]))
            rows[one.method].append(
                [float(in_box(region, centre, 2.0)), times, energy_share(heat, inside_box(one.box, size)),
                 total / float(inside_box(one.box, size).sum()), *scores(detector, image, alone, one.map)]
            )  # fmt: skip
    for variant, values in rows.items():
        table = torch.tensor(values)
        inside, times, in_box_, size_, before, gone, alone, other_gone, other_alone = table.mean(0).tolist()
        where = "box" if folder else "patch"
        print(f"{name}, {variant}, {len(table)} objects: centre in the {where} {100 * inside:.0f} %,")
        print(f"    energy there / its share {times:.1f}, in the box {100 * in_box_:.0f} %, mask / box {size_:.2f};")
        print(f"    score {before:.2f}, mask blurred {gone:.2f} (turned {other_gone:.2f}),", end=" ")
        print(f"mask alone {alone:.2f} (turned {other_alone:.2f})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detector", help="name of a registered one")
    parser.add_argument("--images", type=Path, help="folder of photographs; by default scenes of the world `part`")
    parser.add_argument("--seed", type=int, default=90210, help="of the scenes")
    parser.add_argument("--count", type=int, default=30, help="of objects")
    parser.add_argument("--area", type=float, default=0.2, help="of the mask, as a fraction of the box")
    parser.add_argument("--steps", type=int, default=200, help="of the optimiser")
    parser.add_argument("--variants", nargs="*", default=VARIANTS, help="of the method")
    options = parser.parse_args()
    given = (options.seed, options.count, options.area, options.steps, options.variants)
    measure(options.detector, options.images, *given)
