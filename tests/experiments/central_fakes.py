"""A bench that makes images at once, and objects for it."""

from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion.preset import load_preset
from detinv.layouts.random import RandomLayouts
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)
OBJECTS = CentralObjects(seeds=3, side=20, image_size=SIZE)
QUICK = {"accelerator": "cpu"}


class Painted(ExperimentSetup):
    """Makes images of coloured blocks at once, and remembers the keys and presets that were asked for."""

    def invert(self, key, label, layouts, preset=None, steps=None):
        self.__dict__.setdefault("asked", []).append((key, preset))
        return [block_image(SIZE, sum(map(ord, layout.id))) for layout in layouts]


def bench_of(folder, families, kind=Painted, source=None, **options):
    """A bench whose detectors are those of `families`, with random weights, under the families' names."""
    source = source or RandomLayouts(count=6, image_size=SIZE)
    bench = kind(folder, list(families), source, load_preset("default"), trainer=QUICK, **options)
    bench.detectors |= {family: _sparing(tiny_detector(family, seed=seed)) for seed, family in enumerate(families)}
    return bench


def _sparing(detector):
    """The detector, which reports its eight surest detections only: random weights find a hundred."""
    getattr(detector.model, "roi_heads", detector.model).detections_per_img = 8
    return detector
