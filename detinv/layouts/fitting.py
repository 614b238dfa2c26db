"""A layout from a file, made to fit a detector."""

from collections.abc import Callable

from detinv.errors import LayoutError
from detinv.layouts.layout import Layout

NetworkSize = Callable[[tuple[int, int]], tuple[int, int]]
"""(height, width) of an image to (height, width) of the same image as a network receives it."""


def fitted(
    layout: Layout, network_size: NetworkSize | None = None, detections_per_image: int | None = None, where: str = ""
) -> Layout:
    """The layout in the frame of the network's input; masks that lose all their pixels there are dropped altogether.

    Args:
        network_size: None leaves the frame as it is.
        detections_per_image: most detections the detector can report for one image; None sets no limit.
        where: file the layout comes from; opens the error message.

    Raises:
        LayoutError: when the layout has more objects than the detector can report.
    """
    if detections_per_image is not None and len(layout) > detections_per_image:
        file = f"{where}: " if where else ""
        raise LayoutError(
            f"{file}layout {layout.id}: {len(layout)} objects, larger than the detector allows "
            f"(at most {detections_per_image}); drop objects or choose another image"
        )
    if network_size is not None:
        layout = layout.resized(network_size(layout.image_size))
    if layout.masks is not None and not layout.masks.flatten(1).any(dim=1).all():
        layout = layout.without_masks()
    return layout
