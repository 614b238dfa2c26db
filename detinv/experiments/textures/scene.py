"""A photograph whose objects are re-textured one at a time, and what a detector reports before and after."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.candidates import read_candidates_batch
from detinv.experiments.common.provenance import image_hash, layouts_hash
from detinv.experiments.common.store import Images
from detinv.experiments.textures.base import TextureMethod, composite
from detinv.layouts.boxes import area, pairwise_iou
from detinv.layouts.labels import label_of
from detinv.layouts.layout import Detections, Layout
from detinv.runtime.seeds import layout_generator

END_TO_END, FIXED = "end-to-end", "fixed candidate"
MATCHINGS = (END_TO_END, FIXED)
FOUND_IOU = 0.5
"""Overlap with the annotation from which a detection counts as the object's."""
ObjectRecord = dict[str, Any]
"""One object and one detector: what is measured, as JSON knows it; see `measured`."""


@dataclass
class RetexturedScene:
    """One photograph, its annotated objects and its re-textured versions, which are made when first used.

    Args:
        image: the photograph.
        layout: in its pixels, with masks.
        names: of the classes that the labels number.
        stem: of file names.
        style: where methods that need another texture take it from.
        texture: how textures are replaced.
        described: see `TextureMethod.describe`.
        seed: of all that is random.
    """

    image: UInt8[Tensor, "3 height width"]
    layout: Layout
    names: tuple[str, ...]
    stem: str
    style: UInt8[Tensor, "3 _ _"]
    texture: TextureMethod
    described: str
    seed: int

    @property
    def provenance(self) -> dict[str, Any]:
        """All that the re-textured versions depend on."""
        return {
            "photograph": image_hash([self.image]),
            "layout": layouts_hash([self.layout]),
            "classes": self.names,
            "style": image_hash([self.style]),
            "texture": self.described,
            "seed": self.seed,
        }

    @property
    def sides(self) -> list[float]:
        """Square roots of the boxes' areas."""
        return area(self.layout.boxes).sqrt().tolist()

    @cached_property
    def composites(self) -> Images:
        """For each object, the photograph in which it alone is re-textured."""
        masks = self.layout.masks
        assert masks is not None
        generator = layout_generator(self.seed, self.layout.id, "texture")
        textured = self.texture(self.image, masks, self.style, generator)
        return [composite(self.image, one, mask) for one, mask in zip(textured, masks, strict=True)]

    def release(self) -> None:
        """Free the memory of the re-textured versions; they are made again when they are used again."""
        self.__dict__.pop("composites", None)


def best_detection(found: Detections, box: Tensor, label: int) -> tuple[float, float | None]:
    """Find score and IoU of the detection with the highest score among those of the class that overlap the box.

    Returns:
        (0, None) where none overlaps it with IoU >= 0.5.
    """
    iou = pairwise_iou(box[None], found.boxes)[0]
    scores = torch.where((found.labels == label) & (iou >= FOUND_IOU), found.scores, -1.0)
    if not len(scores) or scores.max() < 0:
        return 0.0, None
    best = int(scores.argmax())
    return float(scores[best]), float(iou[best])


def measured(label: str, detector: AbstractDetector, scene: RetexturedScene, batch_size: int) -> list[ObjectRecord]:
    """Measure all objects of a scene with one detector.

    Returns:
        For each object its detector, image, stem, number, class, side, and for both matchings "p_before", "p_after",
        "iou_before", "iou_after" (None where nothing is found).
    """
    objects, boxes = len(scene.layout), scene.layout.boxes
    labels = _own_labels(label, detector, scene)
    before, *after = detector.detect([scene.image, *scene.composites])
    (fixed_before,) = read_candidates_batch(detector, [scene.image], [boxes], [labels])
    fixed_after = read_candidates_batch(
        detector,
        scene.composites,
        [boxes[k : k + 1] for k in range(objects)],
        [labels[k : k + 1] for k in range(objects)],
        [fixed_before.rows[k : k + 1] for k in range(objects)],
        batch_size,
    )
    rows = []
    for k in range(objects):
        box, name = boxes[k], scene.names[int(scene.layout.labels[k])]
        p_before, iou_before = best_detection(before, box, int(labels[k]))
        p_after, iou_after = best_detection(after[k], box, int(labels[k]))
        overlaps = pairwise_iou(box[None], torch.stack([fixed_before.boxes[k], fixed_after[k].boxes[0]]))[0].tolist()
        rows.append(
            {
                "detector": label,
                "image": scene.layout.id,
                "stem": scene.stem,
                "object": k,
                "class": name,
                "side": scene.sides[k],
                END_TO_END: {
                    "p_before": p_before,
                    "p_after": p_after,
                    "iou_before": iou_before,
                    "iou_after": iou_after,
                },
                FIXED: {
                    "p_before": float(fixed_before.scores[k]),
                    "p_after": float(fixed_after[k].scores[0]),
                    "iou_before": _known(overlaps[0]),
                    "iou_after": _known(overlaps[1]),
                },
            }
        )
    return rows


def _known(iou: float) -> float | None:
    return None if math.isnan(iou) else iou


def _own_labels(label: str, detector: AbstractDetector, scene: RetexturedScene) -> Tensor:
    names = [scene.names[number] for number in scene.layout.labels.tolist()]
    return torch.tensor([label_of(name, detector.class_names, label) for name in names])
