"""An annotation file as COCO's evaluation uses it: with crowds, its own areas and boxes, and its own ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from pycocotools.coco import COCO
from torch import Tensor

from detinv.errors import LayoutError
from detinv.inputs.notes import say_once
from detinv.inputs.printable import quoted
from detinv.layouts.coco import annotated_box, annotation_name, given_area, load_coco
from detinv.layouts.coco_file import WRITTEN_ID, read_coco
from detinv.layouts.labels import known_label
from detinv.layouts.layout import Layout
from detinv.layouts.segmentations import rasterised
from detinv.metrics.coco_ap import coco_ground_truth, encoded_mask

Labels = Mapping[int, int | None]
"""The detector's class, by the file's category; None for categories that the detector does not know."""


@dataclass(frozen=True)
class AnnotatedImages:
    """All images of an annotation file, by ascending id.

    Args:
        layouts: their objects, without crowds, in pixels of the annotated images.
        crowds: for each image, the regions in which objects of a class were not told apart.
        truth: what average precision is computed from, in the numbering of `coco_ground_truth`.
        file_names: as the file gives them.
        image_ids: of the images, as the file writes them.
        category_ids: of the detector's classes, likewise; classes that the file lacks have numbers beyond its own.
    """

    layouts: list[Layout]
    crowds: list[Layout]
    truth: dict[str, Any]
    file_names: list[str]
    image_ids: list[int | float | str]
    category_ids: list[int | float | str]


def load_annotated(annotations: str | Path, class_names: Sequence[str]) -> AnnotatedImages:
    """Read all images of an annotation file to judge detections by; see `load_coco` for what is refused.

    Crowds of classes that the detector does not know are left out, and segmentations that cannot be read.

    Raises:
        LayoutError: also when a crowd has no proper box, and when two categories of one class both have objects, as
            results can name only one of them.
    """
    path = Path(annotations)
    coco = read_coco(path)
    labels = {number: known_label(category["name"], class_names) for number, category in coco.cats.items()}
    category_ids = _category_ids(path, coco, class_names, labels)
    layouts = load_coco(path, class_names, masks_needed=False)
    images = [coco.imgs[image_id] for image_id in sorted(coco.imgs)]
    crowds = [_crowds(path, coco, image, labels, layouts) for image in images]
    return AnnotatedImages(
        layouts,
        crowds,
        _truth(coco, images, layouts, crowds, class_names, labels),
        [image["file_name"] for image in images],
        [image[WRITTEN_ID] for image in images],
        category_ids,
    )


def _category_ids(path: Path, coco: COCO, class_names: Sequence[str], labels: Labels) -> list[Any]:
    beyond = max(coco.cats, default=0) + 1
    used = {entry["category_id"] for entry in coco.dataset["annotations"]}
    ids = []
    for label, name in enumerate(class_names):
        same = [number for number, other in labels.items() if other == label]
        # Roboflow lists a data set's own name as a category without objects, next to a class of that name.
        with_objects = [number for number in same if number in used]
        if len(with_objects) > 1:
            raise LayoutError(
                f"{path}: categories {with_objects[0]} and {with_objects[1]} are both called {quoted(name)}, by this "
                "or another name, and both have objects, but results can name only one of them; give their objects "
                "one category"
            )
        chosen = next(iter(with_objects or same), None)
        ids.append(beyond + label if chosen is None else coco.cats[chosen][WRITTEN_ID])
    return ids


def _crowds(path: Path, coco: COCO, image: dict[str, Any], labels: Labels, layouts: list[Layout]) -> Layout:
    """Return the crowds of an image, with masks if any layout has some."""
    crowds = [entry for entry in coco.imgToAnns[image["id"]] if entry.get("iscrowd", 0)]
    known = [(entry, labels[entry["category_id"]]) for entry in crowds]
    entries = [entry for entry, label in known if label is not None]
    boxes = [annotated_box(path, entry, image) for entry in entries]
    numbers = [label for _, label in known if label is not None]
    size = (image["height"], image["width"])
    masks = None
    if entries and any(layout.masks is not None for layout in layouts):
        masks = torch.stack([_crowd_mask(path, entry, box, size) for entry, box in zip(entries, boxes, strict=True)])
    name = Path(image["file_name"]).stem
    return Layout(torch.tensor(boxes).reshape(-1, 4), torch.tensor(numbers, dtype=torch.int64), size, name, masks)


def _crowd_mask(
    path: Path, entry: dict[str, Any], box: list[float], size: tuple[int, int]
) -> Bool[Tensor, "height width"]:
    """Return the region of a crowd, its box where it has no other."""
    try:
        mask = rasterised(entry.get("segmentation"), size, annotation_name(path, entry))
    except LayoutError as error:
        say_once(f"{error}; its box counts as the region of this crowd")
        mask = None
    if mask is None:
        mask = torch.zeros(size, dtype=torch.bool)
        x0, y0, x1, y1 = (round(value) for value in box)
        mask[y0:y1, x0:x1] = True
    return mask


def _truth(
    coco: COCO,
    images: Sequence[dict[str, Any]],
    layouts: Sequence[Layout],
    crowds: Sequence[Layout],
    class_names: Sequence[str],
    labels: Labels,
) -> dict[str, Any]:
    """Return the file's annotations, numbered as in `coco_ground_truth`.

    Numbers of the file's own may be anything; COCO's evaluation takes an object with id 0 for one that was not found.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, (image, layout, crowd) in enumerate(zip(images, layouts, crowds, strict=True), 1):
        entries = coco.imgToAnns[image["id"]]
        for is_crowd, group in ((0, layout), (1, crowd)):
            known = [entry for entry in entries if int(entry.get("iscrowd") or 0) == is_crowd]
            known = [entry for entry in known if labels[entry["category_id"]] is not None]
            for row, (entry, label) in enumerate(zip(known, group.labels.tolist(), strict=True)):
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": entry["bbox"],
                    "area": given_area(entry),
                    "iscrowd": is_crowd,
                }
                if group.masks is not None:
                    annotation["segmentation"] = encoded_mask(group.masks[row])
                if annotation["area"] is None:
                    sides = entry["bbox"][2] * entry["bbox"][3]
                    annotation["area"] = sides if group.masks is None else int(group.masks[row].sum())
                annotations.append(annotation)
    return coco_ground_truth(layouts, class_names) | {"annotations": annotations}
