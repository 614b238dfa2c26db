"""Measure the search beside D-RISE, both about detections as a whole: a table of docs/attribution.md.

python -m tests.attribution.measurements.search_and_d_rise fastestdet --images DIR --count 10
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.attribution.methods.base import AbstractMethod
from detinv.attribution.methods.perturbations.d_rise import DRISE
from detinv.attribution.metrics.base import Truth
from detinv.attribution.metrics.preset import load_preset, measured
from detinv.detectors.load import load_detector
from tests.attribution.measurements.photographed import photographed

MEASURES = ("insertion", "deletion")


def measure(name: str, folder: Path, count: int, masks: int, trials: int) -> None:
    """Print the means of both and the paired differences, for the best detections of each photograph."""
    detector, preset = load_detector(name), load_preset("vxcode2026")
    search = replace(load_method("search_detection"), trials=trials)
    methods: dict[str, AbstractMethod] = {"d_rise": DRISE(masks=masks), "search": search}
    found: dict[str, list[list[float]]] = {method: [] for method in methods}
    forwards = dict.fromkeys(methods, 0)
    for image, objects in photographed(detector, folder, count):
        heats = []
        for method, made in methods.items():
            explained = explain_image(detector, image, objects, [Question("class")], {method: made})
            heats.append(torch.stack([one.heat() for one in explained.attributions]))
            forwards[method] += explained.forwards
        regions = [Truth(tuple(box), torch.zeros(0, 4)) for box in objects.boxes.tolist()]
        for one in measured(preset, list(MEASURES), detector, image, objects, regions, torch.stack(heats, 1)):
            for method, values in zip(methods, one, strict=True):
                found[method].append([values[measure] for measure in MEASURES])
    rows = {method: torch.tensor(values) for method, values in found.items()}
    difference = rows["search"] - rows["d_rise"]
    interval = 1.96 * difference.std(0) / len(difference) ** 0.5
    for number, title in enumerate(MEASURES):
        means = ", ".join(f"{method} {values[:, number].mean():.3f}" for method, values in rows.items())
        print(f"{name}, {len(difference)} objects, {title}: {means}; {difference[:, number].mean():+.3f}", end=" ")
        print(f"+- {interval[number]:.3f}")
    print(f"forward passes: {forwards}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detector", help="name of a registered one")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--count", type=int, default=10, help="of objects")
    parser.add_argument("--masks", type=int, default=1000, help="of D-RISE")
    parser.add_argument("--trials", type=int, default=100, help="of the search")
    options = parser.parse_args()
    measure(options.detector, options.images, options.count, options.masks, options.trials)
