"""Layouts from COCO annotation files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from detinv.errors import LayoutError
from detinv.inputs.notes import say_once
from detinv.inputs.numbers import is_coordinate
from detinv.inputs.printable import quoted
from detinv.layouts.coco_file import read_coco
from detinv.layouts.fitting import NetworkSize, fitted, network_frame
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Layout
from detinv.layouts.objects import box_problem
from detinv.layouts.segmentations import rasterised

# Boxes are annotated in rounded pixels: they may leave the image by that much and are then clipped.
_ROUNDING = 1.0
# Up to here, COCO's evaluation counts an object at all.
_LARGEST_AREA = 1e10
# For one image: a few run lengths can stand for any amount of memory.
_MOST_MASK_BYTES = 2_000_000_000


def load_coco(
    annotations: str | Path,
    class_names: Sequence[str],
    *,
    image_ids: Sequence[int] | None = None,
    count: int | None = None,
    seed: int = 0,
    min_side: float = 0.0,
    min_area: float = 0.0,
    masks: bool = True,
    masks_needed: bool = True,
    network_size: NetworkSize | None = None,
    detections_per_image: int | None = None,
) -> list[Layout]:
    """Read one layout per annotated image; crowd annotations are left out.

    Args:
        annotations: path of a COCO "instances" file.
        class_names: of the detector; categories are matched by name, their ids may have gaps.
        image_ids: images to take, in this order; by default all, by ascending id.
        count: take that many of them at random, by ascending id.
        seed: of that choice.
        min_side: drop objects whose shorter side is below it, in pixels of the network's input.
        min_area: drop objects whose area is below it, in pixels of the annotated image: the area that the file gives,
            or that of the box where it gives none. 1024 drops those that COCO calls small.
        masks: read segmentations; a layout gets masks only if each of its objects has one.
        masks_needed: whether a segmentation that cannot be read is an error, as for a detector with masks. Otherwise it
            is left out, which is said once, with the number of such segmentations.
        network_size: (height, width) of an image to (height, width) the network receives it in; the layouts are in
            that frame, masks along. None keeps the image's own.
        detections_per_image: most objects the detector can report.

    Returns:
        Layouts named after their image's file, without folder and ending; after the image id where two files of the
        annotation file would have the same name.

    Raises:
        LayoutError: one line that names the file and the entry: for a broken file, an unknown image id, a category
            of an object that the detector does not know, a box that is not finite, reversed, empty or outside its
            image by more than a pixel, a segmentation that cannot be read or has another size than its image, masks
            that would fill the memory, more images asked for than there are, or more objects than the detector allows.
    """
    path = Path(annotations)
    coco = read_coco(path)
    names = _layout_ids(list(coco.imgs.values()))
    layouts = []
    crowds = singles = 0
    broken: list[LayoutError] = []
    for image_id in _chosen(path, sorted(coco.imgs), image_ids, count, seed):
        image = coco.imgs[image_id]
        objects = [entry for entry in coco.imgToAnns[image_id] if not entry.get("iscrowd", 0)]
        singles += len(objects)
        crowds += len(coco.imgToAnns[image_id]) - len(objects)
        labels = [
            label_of(coco.cats[entry["category_id"]]["name"], class_names, annotation_name(path, entry))
            for entry in objects
        ]
        layout = Layout(
            torch.tensor([annotated_box(path, entry, image) for entry in objects]).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            (image["height"], image["width"]),
            names[image_id],
            file_name=image["file_name"],
        )
        keep = _long_enough(path, layout, min_side, network_size) & _large_enough(objects, min_area)
        layout = layout.select(keep)
        if masks:
            kept = [entry for entry, long_enough in zip(objects, keep.tolist(), strict=True) if long_enough]
            layout = _with_masks(path, layout, kept, broken)
        layouts.append(fitted(layout, network_size, detections_per_image, str(path)))
    if crowds and not singles:
        say_once(
            f"{path}: all its objects are marked as crowds (iscrowd: 1), which are left out; some programs mark every "
            "object with a mask that way: write 0 where it is a single object"
        )
    if broken and masks_needed:
        raise LayoutError(f"{broken[0]}; or leave masks out with layout.masks=false")
    if broken:
        say_once(
            f"{broken[0]}; {len(broken)} such segmentation{'s are' if broken[1:] else ' is'} left out, and with "
            f"{'them' if broken[1:] else 'it'} all masks of the image, but no box"
        )
    return layouts


def _chosen(
    path: Path, existing: list[int], image_ids: Sequence[int] | None, count: int | None, seed: int
) -> Sequence[int]:
    pool = existing if image_ids is None else list(image_ids)
    missing = sorted(set(pool) - set(existing))
    if missing:
        raise LayoutError(f"{path}: no image with id {quoted(missing[0])} (the file has {len(existing)} images)")
    if len(set(pool)) < len(pool):
        raise LayoutError(f"{path}: image id {quoted(Counter(pool).most_common(1)[0][0])} is given twice")
    if not pool:
        raise LayoutError(f"{path}: no image to make a layout of")
    if count is None:
        return pool
    if not 1 <= count <= len(pool):
        raise LayoutError(f"{path}: {count} images requested, there are {len(pool)}; choose a count from 1 to that")
    pool = sorted(pool)
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    return sorted(pool[number] for number in order[:count].tolist())


def _layout_ids(images: list[dict[str, Any]]) -> dict[int, str]:
    stems = Counter(Path(image["file_name"]).stem for image in images)
    taken = {stem for stem, uses in stems.items() if uses == 1}
    names = {}
    for image in images:
        stem = Path(image["file_name"]).stem
        if stems[stem] > 1:
            name = str(image["id"])
            while name in taken:
                name = f"{stem}-{name}"
            taken.add(name)
            names[image["id"]] = name
        else:
            names[image["id"]] = stem
    return names


def annotation_name(path: Path, entry: dict[str, Any]) -> str:
    """Return how a message names an annotation."""
    return f"{path}: annotation {quoted(entry['id'])} of image {quoted(entry['image_id'])}"


def annotated_box(path: Path, entry: dict[str, Any], image: dict[str, Any]) -> list[float]:
    """Convert COCO's x, y, width, height to XYXY, clipped where rounding put it outside the image.

    Raises:
        LayoutError: for a box that is not finite, reversed, empty, or outside its image by more than a pixel.
    """
    where, given = annotation_name(path, entry), entry["bbox"]
    if not isinstance(given, list) or len(given) != 4 or not all(is_coordinate(value) for value in given):
        raise LayoutError(f"{where}: its box {quoted(given)} must be four finite numbers x, y, width, height")
    x, y, w, h = (float(value) for value in given)
    height, width = image["height"], image["width"]
    if w <= 0 or h <= 0:
        raise LayoutError(f"{where}: its box {given} is reversed or empty (expected width and height above 0)")
    box = [x, y, x + w, y + h]
    limits = (width, height, width, height)
    clipped = [min(max(value, 0.0), float(limit)) for value, limit in zip(box, limits, strict=True)]
    # In the precision the layout will have, where a sliver may vanish.
    clipped = torch.tensor(clipped).tolist()
    out = max(abs(value - inside) for value, inside in zip(box, clipped, strict=True))
    problem = box_problem(clipped if out <= _ROUNDING else box, height, width)
    if problem:
        raise LayoutError(f"{where}: {problem}; its x, y, width, height are {given}{_advice(given, width, height)}")
    return clipped


def _advice(given: list[float], width: int, height: int) -> str:
    """Return what to do about a box x, y, width, height that leaves its image, told from its numbers."""
    x, y, right, bottom = given
    if 0 <= x < right <= width and 0 <= y < bottom <= height:
        return "; if they are x0, y0, x1, y1, write width and height as COCO does; if not, clip the box to its image"
    return "; clip the box to its image"


def given_area(entry: dict[str, Any]) -> float | None:
    """Return the area that the file gives an annotation, in pixels of the image; None where it gives none that counts.

    COCO's is that of the segmentation.
    """
    area = entry.get("area")
    given = isinstance(area, int | float) and not isinstance(area, bool) and 0 <= area < _LARGEST_AREA
    return area if given else None


def _long_enough(
    path: Path, layout: Layout, min_side: float, network_size: NetworkSize | None
) -> Bool[Tensor, " object"]:
    if network_size is not None:
        layout = layout.resized(network_frame(network_size, layout.image_size, f"{path}: layout {layout.id}"))
    return (layout.boxes[:, 2:] - layout.boxes[:, :2]).amin(dim=1) >= min_side


def _large_enough(entries: Sequence[dict[str, Any]], min_area: float) -> Bool[Tensor, " object"]:
    areas = [given_area(entry) for entry in entries]
    sides = [entry["bbox"][2:] for entry in entries]
    found = [w * h if area is None else area for area, (w, h) in zip(areas, sides, strict=True)]
    return torch.tensor([area >= min_area for area in found], dtype=torch.bool)


def _with_masks(path: Path, layout: Layout, entries: list[dict[str, Any]], broken: list[LayoutError]) -> Layout:
    """Add the masks of the objects, if all of them have one; what is wrong with the others is added to `broken`."""
    height, width = layout.image_size
    if len(entries) * height * width > _MOST_MASK_BYTES:
        raise LayoutError(
            f"{path}: the masks of image {entries[0]['image_id']} would take {len(entries)} times {height} x {width} "
            "bytes of memory; leave them out with layout.masks=false"
        )
    found = []
    for entry in entries:
        try:
            mask = rasterised(entry.get("segmentation"), layout.image_size, annotation_name(path, entry))
        except LayoutError as error:
            broken.append(error)
            continue
        if mask is not None:
            found.append(mask)
    return replace(layout, masks=torch.stack(found)) if found and len(found) == len(entries) else layout
