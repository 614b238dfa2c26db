"""Photographs of a folder and their annotations, as commands are given them."""

from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.errors import LayoutError
from detinv.layouts.fitting import network_frame
from detinv.layouts.layout import Layout
from detinv.metrics.coco_truth import AnnotatedImages, load_annotated
from detinv.results.io.images import read_images


def load_photographs(
    folder: str, annotations: str | None, detector: AbstractDetector, most: int | None = None
) -> tuple[list[str], list[Tensor], AnnotatedImages | None]:
    """Return the names and 8-bit pixels of a folder's images, and what an annotation file says of them.

    Args:
        folder: of PNG or JPEG files.
        annotations: a COCO file, which then names the images to read; None for all images of the folder.
        most: images that are read, the first ones; None for all. What the file says of the others is still returned.

    Raises:
        ConfigError: for a folder or file that cannot be read.
        LayoutError: for annotations of other files than these, or an image that does not fit the detector's input.
    """
    annotated = None if annotations is None else load_annotated(annotations, detector.class_names)
    if annotated is None:
        names, images = read_images(folder, most=most)
    else:
        sizes = [layout.image_size for layout in annotated.layouts]
        names, images = read_images(folder, annotated.file_names, most, sizes)
        _check_sizes(annotated.layouts[:most], images, str(annotations))
    for name, image in zip(names, images, strict=True):
        network_frame(detector.network_size, size_of(image), f"image {name}")
    return names, images, annotated


def size_of(image: Tensor) -> tuple[int, int]:
    """Return (height, width) of an image of shape (3, height, width)."""
    return image.shape[1], image.shape[2]


def _check_sizes(layouts: list[Layout], images: list[Tensor], annotations: str) -> None:
    for layout, image in zip(layouts, images, strict=True):
        if layout.image_size != size_of(image):
            (height, width), (real_height, real_width) = layout.image_size, size_of(image)
            raise LayoutError(
                f"{annotations}: image {layout.id} is annotated as {width} x {height} pixels, but its file has "
                f"{real_width} x {real_height}; use the annotations made for these files"
            )
