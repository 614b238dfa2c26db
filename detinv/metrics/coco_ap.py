"""COCO's average precision, with layouts as ground truth."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from detinv.layouts.layout import Detections, Layout

# Indices into COCOeval's table of precisions: (IoU threshold, recall, class, area range, most detections).
_IOU_50, _IOU_75 = 0, 5
_LARGEST_AREA = 1e10
_AREAS = {"APs": 1, "APm": 2, "APl": 3}


def coco_ground_truth(layouts: Sequence[Layout], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the layouts as a COCO annotation file, ready for JSON.

    Images are numbered from 1 in the order of the layouts and named `<id>.png`; category ids are labels + 1; masks
    become compressed run-length encodings. The area is the mask's, or the box's where there is no mask.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, layout in enumerate(layouts, 1):
        for row, (box, label) in enumerate(zip(layout.boxes.tolist(), layout.labels.tolist(), strict=True)):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": _xywh(box),
                "area": (box[2] - box[0]) * (box[3] - box[1]),
                "iscrowd": 0,
            }
            if layout.masks is not None:
                annotation["segmentation"] = encoded_mask(layout.masks[row])
                annotation["area"] = int(layout.masks[row].sum())
            annotations.append(annotation)
    return {
        "info": {"description": "layouts of detinv"},
        "images": [
            {
                "id": number,
                "file_name": f"{layout.id}.png",
                "height": layout.image_size[0],
                "width": layout.image_size[1],
            }
            for number, layout in enumerate(layouts, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, 1)],
        "annotations": annotations,
    }


def coco_results(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    image_ids: Sequence[int | float | str] | None = None,
    category_ids: Sequence[int | float | str] | None = None,
) -> list[dict[str, Any]]:
    """Return the detections as a COCO result file, ready for JSON.

    Where the raw rows of detections are known, entries have two more fields, which other readers ignore: "row", and of
    a two-stage detector "region" (XYWH in pixels); see `Detections`.

    Args:
        detections: one entry for each layout, in pixels of the layout's image.
        image_ids: number of each image in the annotation file that the results belong to, as it is written there; by
            default those of `coco_ground_truth`.
        category_ids: number of each class there, likewise.

    Raises:
        ValueError: when layouts and detections differ in number or size.
    """
    _check_pairs(layouts, detections)
    results = []
    for image_id, found in zip(image_ids or range(1, len(detections) + 1), detections, strict=True):
        rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        for row, (box, score, label) in enumerate(rows):
            category_id = label + 1 if category_ids is None else category_ids[label]
            result = {"image_id": image_id, "category_id": category_id, "bbox": _xywh(box), "score": score}
            if found.rows is not None:
                result["row"] = int(found.rows[row])
            if found.regions is not None and found.regions[row].isfinite().all():
                result["region"] = _xywh(found.regions[row].tolist())
            if found.masks is not None:
                result["segmentation"] = encoded_mask(found.masks[row])
            results.append(result)
    return results


def average_precision(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    iou_type: Literal["bbox", "segm"] = "bbox",
    truth: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Return average precision over classes and IoU 0.50 to 0.95, in percent, as pycocotools computes it.

    Args:
        detections: one entry for each layout, in pixels of the layout's image; at most 100 per image are counted.
        iou_type: whether boxes or masks are compared; masks must then be given for all objects and detections.
        truth: an annotation file's own version of the layouts, see `load_annotated`; by default `coco_ground_truth`.

    Returns:
        AP, AP50, AP75; APs, APm, APl of objects below 32^2, between, and above 96^2 pixels; `AP/<class>` of each
        class. NaN where there is no object to find (null in JSON); 0 where there are objects but none is found.

    Raises:
        ValueError: when layouts and detections differ in number or size, or masks are missing.
    """
    truth, results = truth or coco_ground_truth(layouts, class_names), coco_results(layouts, detections)
    if iou_type == "segm":
        if any("segmentation" not in entry for entry in (*truth["annotations"], *results)):
            raise ValueError("mask AP needs masks of every object and every detection")
        # pycocotools would sort a result with a box into the area ranges by its box instead of its mask.
        results = [{key: value for key, value in entry.items() if key != "bbox"} for entry in results]
    names = ("AP", "AP50", "AP75", *_AREAS, *(f"AP/{name}" for name in class_names))
    if not truth["annotations"]:
        return dict.fromkeys(names, float("nan"))
    precision = _precisions(truth, results, iou_type)
    all_areas = precision[..., 0]
    values = [all_areas, all_areas[_IOU_50], all_areas[_IOU_75]]
    values += [precision[..., area] for area in _AREAS.values()]
    values += [all_areas[:, :, label] for label in range(len(class_names))]
    return {name: _mean(value) for name, value in zip(names, values, strict=True)}


def average_precision_above(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str], least_area: float
) -> tuple[float, float]:
    """Return AP and AP50 of boxes, in percent, over objects whose area is above `least_area`; NaN if there is none.

    As in COCO's own ranges, smaller objects are neither hit nor miss, and neither are smaller detections of nothing.
    """
    truth = coco_ground_truth([layout.without_masks() for layout in layouts], class_names)
    if not truth["annotations"]:
        return float("nan"), float("nan")
    # Both ends of a range belong to it.
    least = float(np.nextafter(least_area, np.inf)) if least_area else 0.0
    precision = _precisions(truth, coco_results(layouts, detections), "bbox", [[least, _LARGEST_AREA]])[..., 0]
    return _mean(precision), _mean(precision[_IOU_50])


def box_and_mask_ap(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    truth: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Return `average_precision` of boxes and, as `mask_AP` and so on, of masks where both sides have them."""
    scores = average_precision(layouts, detections, class_names, truth=truth)
    wanted = [layout for layout in layouts if len(layout)]
    if wanted and all(layout.masks is not None for layout in wanted) and all(d.masks is not None for d in detections):
        masked = average_precision(layouts, detections, class_names, "segm", truth)
        scores |= {f"mask_{name}": value for name, value in masked.items()}
    return scores


def _precisions(
    truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str, areas: list[list[float]] | None = None
) -> np.ndarray:
    """Return precisions by (IoU threshold, recall, class, area range), -1 where there is no object.

    Args:
        areas: the ranges; by default COCO's four.
    """
    expected, found = COCO(), COCO()
    expected.dataset = truth
    # pycocotools reports its progress with print.
    with contextlib.redirect_stdout(io.StringIO()):
        expected.createIndex()
        if results:
            found = expected.loadRes(results)
        else:
            found.dataset = truth | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(expected, found, iou_type)
        if areas is not None:
            evaluation.params.areaRng, evaluation.params.areaRngLbl = areas, [str(span) for span in areas]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., -1]


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(100 * defined.mean()) if defined.size else float("nan")


def _xywh(box: list[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def encoded_mask(mask: Bool[Tensor, "height width"]) -> dict[str, Any]:
    """Return the mask as COCO's compressed run-length encoding, ready for JSON."""
    encoded = rle.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def _check_pairs(layouts: Sequence[Layout], detections: Sequence[Detections]) -> None:
    if len(layouts) != len(detections):
        raise ValueError(f"{len(layouts)} layouts, but detections of {len(detections)} images")
    for layout, found in zip(layouts, detections, strict=True):
        if layout.image_size != found.image_size:
            raise ValueError(
                f"layout {layout.id} is of size {layout.image_size}, its detections are of size {found.image_size}"
            )
