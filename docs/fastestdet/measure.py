"""What FastestDet finds in annotated images, and why it misses the rest.

    python docs/fastestdet/measure.py WEIGHTS IMAGES ANNOTATIONS

IMAGES is a folder, ANNOTATIONS a COCO file: real photographs, or images/ and layouts.json of an inversion. Sizes and
areas are those in the network's frame.
"""

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from detinv.detectors.load import load_detector
from detinv.layouts.boxes import area, pairwise_iou
from detinv.layouts.coco import load_coco
from detinv.layouts.coco_file import read_coco
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import coco_ground_truth, coco_results
from detinv.results.io.images import read_images

LEAST_AREA = 32.0**2
SCORE_THRESH = IOU_THRESH = 0.5

SIDES = (16, 32, 64, 128)
CROWDING = (
    "overlaps one of its class above NMS's IoU",
    "gets no cell: all in reach are taken",
    "shares its cell with another centre",
    "shares some of its four cells",
    "alone",
)
CAUSES = ("suppressed, or counts for another", "score too low", "cell has another class", "no cell has its box")


def ap_above(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str], least_area: float = 0.0
) -> tuple[float, float]:
    """AP and AP50 in percent over boxes larger than `least_area`; as in COCO, smaller ones are neither hit nor miss."""
    truth, found = COCO(), COCO()
    truth.dataset = coco_ground_truth([layout.without_masks() for layout in layouts], class_names)
    # pycocotools reports its progress with print.
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(coco_results(layouts, detections))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[least_area, 1e10]], ["chosen"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]
    overall, at_half = (values[values > -1].mean() for values in (precision, precision[0]))
    return float(100 * overall), float(100 * at_half)


def found_objects(layout: Layout, detections: Detections) -> Tensor:
    """Which objects a confident detection of their class overlaps, each detection counting for one object at most."""
    confident = detections.above(SCORE_THRESH)
    iou = pairwise_iou(confident.boxes, layout.boxes)
    iou[confident.labels[:, None] != layout.labels] = 0
    found = torch.zeros(len(layout), dtype=torch.bool)
    for row in confident.scores.argsort(descending=True, stable=True):
        best, place = torch.where(found, 0, iou[row]).max(0) if len(layout) else (0, 0)
        if best > IOU_THRESH:
            found[place] = True
    return found


def crowding(layout: Layout, reach: Tensor, cell: int, nms_thresh: float) -> list[str]:
    """The first entry of `CROWDING` that is true of each object.

    Args:
        reach: (objects, cells) cells that may report an object.
        cell: its side in pixels.
    """
    others = ~torch.eye(len(layout), dtype=torch.bool)
    rival = (pairwise_iou(layout.boxes, layout.boxes) > nms_thresh) & (layout.labels[:, None] == layout.labels) & others
    given = torch.from_numpy(maximum_bipartite_matching(csr_array(reach.numpy()), perm_type="column"))
    home = ((layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2 / cell).floor()
    apart = (home[:, None] - home).abs().amax(-1)
    kinds = [rival.any(1), given < 0, ((apart == 0) & others).any(1), ((apart <= 1) & others).any(1)]
    kinds.append(torch.ones(len(layout), dtype=torch.bool))
    first = torch.stack(kinds).int().argmax(0)
    return [CROWDING[kind] for kind in first.tolist()]


def causes(layout: Layout, boxes: Tensor, labels: Tensor, scores: Tensor) -> list[str]:
    """Why each object would be missed: how near the cell that comes nearest to reporting it comes.

    Args:
        boxes, labels, scores: of all cells, before threshold and suppression.
    """
    has_box = pairwise_iou(layout.boxes, boxes) > IOU_THRESH
    has_class = has_box & (layout.labels[:, None] == labels)
    has_score = has_class & (scores > SCORE_THRESH)
    reasons = torch.stack([has_score.any(1), has_class.any(1), has_box.any(1), torch.ones(len(layout)).bool()])
    return [CAUSES[reason] for reason in reasons.int().argmax(0).tolist()]


def size_name(box_area: float) -> str:
    """The range of `SIDES` in which the square root of an area lies."""
    for low, high in zip((0, *SIDES), SIDES, strict=False):
        if box_area < high**2:
            return f"{low} to {high} px"
    return f"{SIDES[-1]} px and more"


def table(title: str, order: Sequence[str], groups: Sequence[str], missed: Sequence[str | None]) -> str:
    """Objects of each group and what is missed of them, by cause, as Markdown.

    Args:
        order: of the groups.
        groups, missed: of each object its group, and the cause if it is missed.
    """
    total, lost = Counter(groups), Counter(zip(groups, missed, strict=True))
    lines = [f"| {title} | objects | missed | {' | '.join(CAUSES)} |", "|---" * (3 + len(CAUSES)) + "|"]
    for group in order:
        counts = [lost[group, cause] for cause in CAUSES]
        lines.append(f"| {group} | {total[group]} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    counts = [sum(lost[group, cause] for group in order) for cause in CAUSES]
    return "\n".join([*lines, f"| all | {len(groups)} | {sum(counts)} | {' | '.join(map(str, counts))} |"])


@torch.no_grad()
def main(weights: str, images: str, annotations: str) -> None:
    """Print the figures and both tables."""
    detector = load_detector(str(Path(__file__).with_name("fastestdet.yaml")), weights=weights)
    coco = read_coco(Path(annotations))
    _, originals = read_images(images, [coco.imgs[image_id]["file_name"] for image_id in sorted(coco.imgs)])
    layouts = load_coco(annotations, detector.class_names, masks=False, network_size=detector.network_size)
    pictures = [detector.resize(image) for image in originals]
    detections = detector.detect(pictures)

    sizes: list[str] = []
    crowds: list[str] = []
    missed: list[str | None] = []
    for layout, picture, found in zip(layouts, pictures, detections, strict=True):
        dense = detector(picture[None].float() / 255).dense
        anchors = dense.head.anchors
        reach = dense.head.codec.expresses(layout.boxes[None], anchors)[0] & (anchors[:, :2] > 0).all(-1)
        scores, labels = dense.scores()[0].max(-1)
        cell = round(float(anchors[0, 2] - anchors[0, 0]))
        sizes += [size_name(value) for value in area(layout.boxes).tolist()]
        crowds += crowding(layout, reach, cell, dense.head.post.suppression)
        why = causes(layout, dense.boxes()[0], labels, scores)
        missed += [None if hit else cause for hit, cause in zip(found_objects(layout, found), why, strict=True)]

    for name, least in (("all", 0.0), (f"larger than {LEAST_AREA**0.5:.0f}^2 px", LEAST_AREA)):
        overall, at_half = ap_above(layouts, detections, detector.class_names, least)
        count = sum(int((area(layout.boxes) > least).sum()) for layout in layouts)
        print(f"AP {overall:.1f}, AP50 {at_half:.1f} over {count} objects: {name}, in {len(layouts)} images")
    print(f"\nfound: score > {SCORE_THRESH} and IoU > {IOU_THRESH} with the right class\n")
    order = [size_name(side**2 - 1.0) for side in SIDES] + [size_name(SIDES[-1] ** 2)]
    print(table("side (square root of the area)", order, sizes, missed), end="\n\n")
    # Crowds are often of small objects, so each size has a table of its own.
    for name, is_large in (("larger than", True), ("up to", False)):
        chosen = [k for k, group in enumerate(sizes) if (group in order[2:]) == is_large]
        title = f"crowding, objects {name} {SIDES[1]}^2 px"
        print(table(title, CROWDING, [crowds[k] for k in chosen], [missed[k] for k in chosen]), end="\n\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
