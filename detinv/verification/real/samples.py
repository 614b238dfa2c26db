"""The bundled layouts of COCO's classes, all at once."""

from collections.abc import Sequence

from detinv.layouts.fitting import NetworkSize
from detinv.layouts.layout import Layout
from detinv.layouts.sources import FileLayouts

SAMPLES = ("animals", "street", "table", "beach", "farm")


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
