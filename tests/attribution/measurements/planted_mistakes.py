"""Plant mistakes and count how often they are named rightly: the table of docs/attribution.md.

python -m tests.attribution.measurements.planted_mistakes --seed 90210 --count 50
python -m tests.attribution.measurements.planted_mistakes --seed 90210 --count 20 --written
python -m tests.attribution.measurements.planted_mistakes --seed 90210 --count 50 --detectron2
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from scipy.stats import binomtest

from detinv.commands.photographs import load_photographs
from detinv.worlds.plain import PlainWorld
from tests.attribution.mistakes.pairs import PairsWorld
from tests.attribution.mistakes.plants import PLANTS, suppressed
from tests.attribution.mistakes.rectangles import GREY, scenes
from tests.attribution.mistakes.subjects import DETECTRON2, TORCHVISION, WRITTEN, Subject, background_of, detector_with
from tests.attribution.mistakes.written import BUILDERS

PHOTOGRAPHIC = ("yolox_nano", "nanodet_m", "fastestdet")
# Scores of small detectors on photographs are low.
PHOTOGRAPHIC_THRESH = 0.3
# Scenes that are tried before a plant counts as one that this detector does not allow.
_BARREN = 100


def of_scenes(name: str, world: PlainWorld) -> Iterator[Subject]:
    """Yield scene after scene with what a detector finds there."""
    number = 0
    while True:
        scene, detector = world.scene(number), detector_with(name)
        (found,) = detector.detect([scene.image])
        truth = scene.layout.without_masks()
        yield Subject(name, scene.image, truth, found.above(0.5), background=background_of(world, number))
        number += 1


def of_rectangles(name: str, seed: int, pairs: bool = False) -> Iterator[Subject]:
    """Yield images of rectangles with what a detector with written raw predictions finds there."""
    for image, truth in scenes(seed, pairs):
        (found,) = detector_with(name).detect([image])
        yield Subject(name, image, truth, found.above(0.5), background=torch.full_like(image, GREY))


def of_photographs(name: str, folder: Path) -> Iterator[Subject]:
    """Yield photograph after photograph with what a detector finds there."""
    detector = detector_with(name)
    _, images, annotated = load_photographs(str(folder / "images"), str(folder / "instances.json"), detector)
    assert annotated is not None
    for image, truth in zip(images, annotated.layouts, strict=True):
        (found,) = detector.detect([image])
        yield Subject(name, image, truth.without_masks(), found.above(PHOTOGRAPHIC_THRESH), PHOTOGRAPHIC_THRESH)


def measure(name: str, seed: int, count: int, photographs: Path | None) -> Counter[tuple[str, str]]:
    """Return how often each verdict fell on each plant in one detector."""
    verdicts: Counter[tuple[str, str]] = Counter()
    for plant in PLANTS:
        made: Counter[str] = Counter()
        if photographs is not None:
            subjects = of_photographs(name, photographs)
        elif name.startswith(WRITTEN):
            subjects = of_rectangles(name, seed, plant is suppressed)
        else:
            subjects = of_scenes(name, (PairsWorld if plant is suppressed else PlainWorld)(seed=seed))
        for tried, subject in enumerate(subjects):
            if (made and min(made.values()) >= count) or (not made and tried > _BARREN):
                break
            for one in plant(subject):
                if made[one.name] < count:
                    made[one.name] += 1
                    verdicts[one.name, one.verdict()] += 1
    return verdicts


def share(right: int, total: int) -> str:
    """Return a percentage with Wilson's 95 % interval."""
    low, high = binomtest(right, total).proportion_ci(method="wilson")
    return f"{100 * right / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}], n = {total}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=90210, help="of the scenes")
    parser.add_argument("--count", type=int, default=50, help="of each plant in each detector")
    parser.add_argument("--photographs", type=Path, help="folder with images/ and instances.json in COCO's format")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--detectors", nargs="*", help="by default the bundled ones of four families")
    which.add_argument("--written", action="store_true", help="instead, those with raw predictions written by hand")
    which.add_argument("--detectron2", action="store_true", help="instead, the bundled ones as Detectron2's models")
    options = parser.parse_args()
    default = TORCHVISION if options.photographs is None else PHOTOGRAPHIC
    if options.detectron2:
        default = DETECTRON2
    names = options.detectors or ([WRITTEN + name for name in BUILDERS] if options.written else default)
    total: Counter[tuple[str, str]] = Counter()
    for name in names:
        verdicts = measure(name, options.seed, options.count, options.photographs)
        total += verdicts
        right = sum(number for (_, verdict), number in verdicts.items() if verdict == "right")
        print(f"{name}: {share(right, verdicts.total())}", flush=True)
        for (plant, verdict), number in sorted(verdicts.items()):
            if verdict != "right":
                print(f"    {plant}: {number} times {verdict}", flush=True)
    for plant in dict.fromkeys(plant for plant, _ in total):
        right = total[plant, "right"]
        print(f"{plant}: {share(right, sum(number for (name, _), number in total.items() if name == plant))}")
    print(f"all: {share(sum(n for (_, v), n in total.items() if v == 'right'), total.total())}")
