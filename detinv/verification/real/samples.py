"""Layouts of COCO's classes: the bundled ones, all at once, and those of photographs."""

from collections.abc import Sequence

from detinv.layouts.fitting import NetworkSize
from detinv.layouts.layout import Layout
from detinv.layouts.sources import CocoLayouts, FileLayouts

SAMPLES = ("animals", "street", "table", "beach", "farm")
# Area from which objects of photographs are asked for, in pixels of the photographs: COCO calls the others small.
_MIN_AREA = 32.0**2


class SampleLayouts:
    """Layouts that come with the package, in the order of `SAMPLES`.

    Args:
        count: the first so many.
    """

    def __init__(self, count: int = len(SAMPLES)) -> None:
        self.names = SAMPLES[:count]

    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        """See `LayoutSource`."""
        return [
            layout
            for name in self.names
            for layout in FileLayouts(f"sample:{name}").layouts(class_names, network_size, detections_per_image)
        ]


def photographed_layouts(annotations: str, count: int, seed: int) -> CocoLayouts:
    """Return layouts of photographs, without the objects that COCO calls small.

    Args:
        annotations: path of a COCO annotation file.
        count: of photographs, chosen at random.
        seed: of that choice.
    """
    return CocoLayouts(annotations, count=count, seed=seed, min_area=_MIN_AREA)
