"""Fitting of a layout to a detector: the frame of its input, and the number of objects it can report."""

from collections.abc import Callable

from detinv.errors import LayoutError
from detinv.layouts.layout import Layout

NetworkSize = Callable[[tuple[int, int]], tuple[int, int]]
"""(height, width) of an image to (height, width) of the same image as a network receives it."""


def network_frame(network_size: NetworkSize, image_size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return `network_size` of an image, whatever its sides.

    Args:
        network_size: of the detector.
        image_size: (height, width) in pixels.
        where: file and entry; opens the error message.

    Raises:
        LayoutError: when the image is so narrow that the detector would resize it to nothing.
    """
    try:
        height, width = network_size(image_size)
    except (ArithmeticError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise LayoutError(
            f"{where}: an image of {image_size[1]} x {image_size[0]} pixels is too narrow for this detector, which "
            "would resize it to nothing"
        )
    return height, width


def fitted(
    layout: Layout, network_size: NetworkSize | None = None, detections_per_image: int | None = None, where: str = ""
) -> Layout:
    """Return the layout in the frame of the network's input, without masks if one of them loses all its pixels there.

    Args:
        layout: in any frame.
        network_size: of the detector; None leaves the frame as it is.
        detections_per_image: most detections the detector can report for one image; None sets no limit.
        where: file that the layout comes from; opens the error message.

    Raises:
        LayoutError: when the layout has more objects than the detector can report, or its image is too narrow.
    """
    if detections_per_image is not None and len(layout) > detections_per_image:
        file = f"{where}: " if where else ""
        raise LayoutError(
            f"{file}layout {layout.id}: {len(layout)} objects, larger than the detector allows "
            f"(at most {detections_per_image}); drop objects or choose another image"
        )
    if network_size is not None:
        layout = layout.resized(network_frame(network_size, layout.image_size, f"{where}: layout {layout.id}"))
    if layout.masks is not None and not layout.masks.flatten(1).any(dim=1).all():
        layout = layout.without_masks()
    return layout
