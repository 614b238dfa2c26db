"""Which parts of the image decide, found by showing some and covering the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.methods.base import AbstractMethod, ImageMaps, ImageMethod
from detinv.attribution.methods.perturbations.first_order import (
    falling,
    first_places,
    mean_by_part,
    places,
    within_parts,
)
from detinv.attribution.metrics.fills import Fill, filled
from detinv.attribution.trials.cells import grid_cells, on_canvas, superpixels
from detinv.attribution.trials.order import GreedyOrder, schedule
from detinv.attribution.trials.partial_images import PartialImages
from detinv.attribution.trials.values import Answers, DetectionLikeness, Values
from detinv.attribution.trials.whole_orders import SHARES, worth_of_orders
from detinv.detectors.base import AbstractDetector
from detinv.inputs.ranges import check_choice, check_range

# Squares along the longer side, for objects up to a share of the image.
_SQUARES = ((0.01, 24), (0.2, 16), (1.0, 8))


@dataclass(frozen=True)
class Search(ImageMethod):
    """The order in which parts of the image matter, found by trial: what is covered first changes least.

    A set of parts counts by what it restores when nothing else shows, and by what is lost when it alone is covered.
    Each round tries the least promising parts only, a window of them, and covers those whose loss is smallest; parts
    that have been tried keep the result as their promise. The first promise is the gradient on the way from the empty
    image, smoothed. The map holds what each part changed and falls in the order of the search.

    With `first`, the promise is a part's place in the order of a cheap method's maps, which then also orders the pixels
    within parts. At the end this order and the one that was found are tried as a whole, and the better one is kept: by
    what images are worth that show its first pixels, less those without them, at several shares of the pixels.

    Args:
        asks: "question", what is asked, with rows and regions held; or "detection", the detection as a whole, whatever
            is asked: IoU times cosine of the scores, the best of all raw predictions.
        direction: "backward" covers what changes least, from the whole image; "forward" shows what changes most, from
            the empty one, which is worse where parts restore nothing unless together.
        cells: squares of a "grid", or "superpixels".
        count: of squares along the longer side, or of superpixels; by default squares are a 24th of it for objects of
            up to 1 % of the image, a 16th up to 20 %, and an 8th beyond, and superpixels are as many as squares.
        counts: what a set counts by: what it "restores", what it "removes", or "both".
        trials: images that pass through the network for each map, at most, unless one round takes more.
        window: parts, or groups of them, that are tried in each round.
        first: a method of features and gradients that gives the first promise, in place of the gradient's way: by its
            maps of what is asked, or, for a detection as a whole, of its class and its box together.
        path: points of the gradient's way.
        spread: standard deviation of the first promise's Gaussian, as a fraction of the root of the box's area.
        fill: what shows where the image is covered; see `filled`.
        batch_size: images that pass through the network together.

    Source: ours, after searches for small sets of parts: Yamauchi et al. 2026, "Explaining Object Detectors via
    Collective Contribution of Pixels" (the sizes of squares, IoU times cosine), and Chen et al. 2025, "Interpreting
    Object-level Foundation Models via Visual Precision Search" (what a set restores and removes, together).

    Departures: one order for insertion and deletion; from the whole image backwards; a window of parts in each round
    instead of all parts, or all pairs of them.
    """

    asks: Literal["question", "detection"] = "question"
    direction: Literal["backward", "forward"] = "backward"
    cells: Literal["grid", "superpixels"] = "grid"
    count: int | None = None
    counts: Literal["both", "restores", "removes"] = "both"
    trials: int = 400
    window: int = 8
    first: AbstractMethod | None = None
    path: int = 8
    spread: float = 0.25
    fill: Fill = "mean"
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_range(self, "count trials window path batch_size", 1)
        check_range(self, "spread")
        check_choice(self, "asks", "question", "detection")
        check_choice(self, "direction", "backward", "forward")
        check_choice(self, "cells", "grid", "superpixels")
        check_choice(self, "counts", "both", "restores", "removes")
        check_choice(self, "fill", "mean", "black", "blur", "colours")

    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        boxes = frame.to_canvas(objects.boxes)
        values: Values
        if self.asks == "question":
            asked, values = len(questions), Answers.of(detector, pixels, frame, size, objects, questions)
        else:
            asked, values = 1, DetectionLikeness.of(detector, pixels, size, boxes, objects.labels)
        areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(1).repeat_interleave(asked)
        squares = [self._squares(area / (size[0] * size[1])) for area in areas.tolist()]
        made = {count: self._parts(pixels, size, count) for count in {*squares}}
        images = PartialImages(
            values,
            pixels,
            filled(self.fill, pixels[0], detector.pixel_mean, seed),
            [made[count] for count in squares],
            self.counts,
            self.batch_size,
        )
        if self.first is None:
            promises = images.along_the_way(self.path, (self.spread * areas.sqrt()).tolist())
            maps = self._searched(images, promises)
            forwards, backwards = 1 + images.forwards, images.backwards
        else:
            begins = questions if self.asks == "question" else [Question("class"), Question("box")]
            inside = images.parts[0] >= 0
            found = first_places(self.first, detector, image, objects, begins, inside)
            maps = self._from_first(images, found.flatten(0, 1) if self.asks == "question" else found, inside)
            forwards = 2 + images.forwards + len(maps) * self._before
            backwards = len(objects) * len(begins)
        maps = maps.reshape(len(objects), asked, *pixels.shape[2:])
        return ImageMaps(maps.expand(-1, len(questions), -1, -1).clone(), forwards, backwards)

    def _from_first(
        self, images: PartialImages, found: Float[Tensor, "pair *question rows columns"], inside: Tensor
    ) -> Float[Tensor, "pair rows columns"]:
        """Return the maps of a search that goes on from first orders.

        Args:
            found: places of the pixels; where there are several orders, their mean is gone on from, and the first one
                is tried at the end.
        """
        alone = found if found.ndim == 3 else found[:, 0]
        first = torch.stack([places(one if one.ndim == 2 else one.mean(0), inside) for one in found])
        promises = [
            mean_by_part(one, cells) / (int(cells.max()) + 1) for one, cells in zip(first, images.parts, strict=True)
        ]
        parts = self._searched(images, promises)
        searched = [within_parts(one, before, inside) for one, before in zip(parts, first, strict=True)]
        orders = torch.stack([alone, torch.stack(searched)], 1)
        worth = worth_of_orders(images.values, images.pixels, images.empty, orders, inside, self.batch_size)
        best = zip(orders, worth.argmax(1).tolist(), parts, strict=True)
        return torch.stack([falling(mine[number], one, inside) for mine, number, one in best])

    @property
    def _before(self) -> int:
        """How many images pass through the network for each map outside of its rounds."""
        return self.path if self.first is None else 2 * 2 * SHARES

    def _squares(self, share: float) -> int:
        """Return how many squares the longer side has for an object of that share of the image."""
        return self.count or next((count for most, count in _SQUARES if share <= most), _SQUARES[-1][1])

    def _parts(self, pixels: Tensor, size: tuple[int, int], count: int) -> Int64[Tensor, "height width"]:
        found = grid_cells(size, count)
        if self.cells == "superpixels":
            found = superpixels(pixels[0, :, : size[0], : size[1]], self.count or int(found.max()) + 1)
        return on_canvas(found, (pixels.shape[2], pixels.shape[3])).to(pixels.device)

    def _searched(
        self, images: PartialImages, promises: Sequence[Float[Tensor, " part"]]
    ) -> Float[Tensor, "pair height width"]:
        """Return the maps; the searches of all pairs of object and question advance together."""
        backward = self.direction == "backward"
        rounds = max(1, (self.trials - self._before - images.each) // (images.each * (self.window + 1)))
        nothing: list[list[int]] = [[] for _ in promises]
        whole = images.run(list(enumerate(images.whole))) - images.run(list(enumerate(nothing)))
        orders = [
            GreedyOrder(mine, schedule(len(mine), rounds, backward), backward, float(change))
            for mine, change in zip(promises, whole, strict=True)
        ]
        while going := [number for number, one in enumerate(orders) if not one.done]:
            tried = [orders[number].candidates(self.window) for number in going]
            found = images.run([(number, one) for number, sets in zip(going, tried, strict=True) for one in sets])
            for number, results in zip(going, found.split([len(sets) for sets in tried]), strict=True):
                orders[number].advance(results)
        return torch.stack([images.as_map(number, one.as_values()) for number, one in enumerate(orders)])
