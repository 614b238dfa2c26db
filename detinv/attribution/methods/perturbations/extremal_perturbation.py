"""The smooth mask of a given area that keeps an answer, or whose absence destroys it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.smoothing import smoothed
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.attribution.trials.smooth_masks import SmoothMasks
from detinv.attribution.trials.values import Answers, Values
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.ranges import check_choice, check_range

_LEVELS = 8
# Growth of the area's weight over all steps, as over the 800 steps of the publication.
_GROWTH = 1.0035**800


@dataclass(frozen=True)
class ExtremalPerturbation(ImageMethod):
    """The mask of a given area that changes an answer most; masks of several areas are averaged. Rows are held.

    Objects, areas and questions share their passes through the network.

    Args:
        variant: "preserve", the rest of the image is blurred and the answer should stay; "delete", the mask is blurred
            and the answer should go, which is sought beginning from masks that preserve; or "dual", both.
        areas: fractions of the object's mask where it is known, else of its box; or of the image.
        area_of: "object" or "image".
        steps: of the optimiser.
        rate: of each step; mask values lie in [0, 1].
        weight: of the area at first, beside an answer that changes by 1 from the whole image to a wholly blurred one.
        cell, smoothness: distance of the mask's parameters, and how far each reaches, as fractions of the longer side.
        removal: "blur", the more the lower the mask; or "fade" to the detector's mean colour.
        blur: largest standard deviation, as a fraction of the longer side.
        batch_size: masks that pass through the network together; twice as many images unless they preserve.

    Source: Fong et al. 2019, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks", sections 3 and
    4; areas of half an object's mask are those of figure 6 of the paper on inversion.

    Departures: answers are divided by how much a wholly blurred image changes them, since they may be logits or pixels;
    Adam and 200 steps instead of gradient descent and 800, from masks that remove a tenth; the first step leaves the
    area out, so that equal values are not ordered by their place; "delete" turns from preserving to deleting step by
    step, since an answer that is certain hardly changes where little is removed, wherever that is; the image is not
    flipped, which boxes would not survive; the mask is divided by what a mask of ones becomes, so that it reaches 1 up
    to the border.
    """

    variant: Literal["preserve", "delete", "dual"] = "preserve"
    areas: Sequence[float] = (0.5,)
    area_of: Literal["object", "image"] = "object"
    steps: int = 200
    rate: float = 0.05
    weight: float = 15.0
    cell: float = 1 / 32
    smoothness: float = 3 / 32
    removal: Literal["blur", "fade"] = "blur"
    blur: float = 0.09
    batch_size: int = 16

    def __post_init__(self) -> None:
        # Methods are compared and hashed; configurations hand over lists.
        object.__setattr__(self, "areas", tuple(float(area) for area in self.areas))
        if not self.areas or not all(0 < area <= 1 for area in self.areas):
            raise ConfigError(f"areas={list(self.areas)}: choose one fraction or more, above 0 and at most 1")
        check_range(self, "steps batch_size", 1)
        check_range(self, "rate weight", above=True)
        check_range(self, "cell smoothness blur", 0.0, 1.0, above=True)
        check_choice(self, "variant", "preserve", "delete", "dual")
        check_choice(self, "area_of", "object", "image")
        check_choice(self, "removal", "blur", "fade")

    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        values = Answers.of(detector, pixels, frame, size, objects, questions)
        levels = self._levels(detector, pixels, size)
        count = len(objects) * len(questions)
        with torch.no_grad():
            ends = [
                torch.cat([values.value(end.expand(len(part), -1, -1, -1), part) for part in _batches(count, self)])
                for end in (levels[0], levels[-1])
            ]
        # What changes nothing at all has no scale; its mask stays where the area puts it.
        scales = (ends[0] - ends[1]).abs().clamp(min=1e-6)
        shares = self._shares(objects, frame, size).repeat_interleave(len(questions), 0)
        pairs = torch.arange(count).repeat_interleave(len(self.areas))
        masks = SmoothMasks.of(size, self.cell * max(size), self.smoothness * max(size), pixels.device)
        found = []
        for rows in torch.arange(len(pairs)).split(self.batch_size):
            mine = pairs[rows]
            targets = shares.flatten()[rows].to(pixels)
            found.append(self._optimised(values, levels, masks, mine, targets, scales[mine.to(scales.device)], size))
        each = torch.cat(found).unflatten(0, (count, len(self.areas))).mean(1)
        maps = F.pad(each, (0, pixels.shape[3] - size[1], 0, pixels.shape[2] - size[0]))
        once = self.variant == "preserve"
        passes = len(pairs) * (self.steps if once else 2 * self.steps - int(self.variant == "delete"))
        return ImageMaps(maps.unflatten(0, (len(objects), -1)), 1 + 2 * count + passes, passes)

    def _optimised(
        self,
        values: Values,
        levels: Float[Tensor, "level 3 rows columns"],
        masks: SmoothMasks,
        pairs: Int64[Tensor, " mask"],
        shares: Float[Tensor, " mask"],
        scales: Float[Tensor, " mask"],
        size: tuple[int, int],
    ) -> Float[Tensor, "mask height width"]:
        """Return the masks of some pairs of object and question, each with its share of the image."""
        # Near the image as it is: halfway the answer may be gone, and at it no distance has a gradient.
        parameters = torch.full((len(pairs), *masks.cells), 0.9, device=levels.device, requires_grad=True)
        optimiser = torch.optim.Adam([parameters], lr=self.rate)
        for step in range(self.steps):
            with torch.enable_grad():
                coarse = masks.coarse(parameters)
                fine = masks.fine(coarse)
                gained = torch.zeros_like(scales)
                keep, drop = self._goals(step / self.steps)
                if keep:
                    gained = gained + keep * values.value(_removed(levels, fine, size), pairs)
                if drop:
                    gained = gained - drop * values.value(_removed(levels, 1 - fine, size), pairs)
                weight = self.weight * _GROWTH ** (step / self.steps) if step else 0.0
                loss = (weight * masks.area_error(coarse, shares) - gained / scales).sum()
            (parameters.grad,) = torch.autograd.grad(loss, parameters)
            optimiser.step()
            with torch.no_grad():
                parameters.clamp_(0, 1)
        with torch.no_grad():
            return masks.fine(masks.coarse(parameters))

    def _goals(self, done: float) -> tuple[float, float]:
        """Return how much it counts that the mask preserves the answer, and that its absence destroys it.

        Args:
            done: share of the steps.
        """
        if self.variant == "delete":
            return 1 - done, done
        return 1.0, float(self.variant == "dual")

    def _levels(self, detector: AbstractDetector, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the image, more and more of it removed; padding stays."""
        colour = detector.pixel_mean[:, None, None]
        found = pixels.repeat(_LEVELS if self.removal == "blur" else 2, 1, 1, 1)
        inside = pixels[0, :, : size[0], : size[1]]
        for level in range(1, len(found)):
            sigma = self.blur * max(size) * level / (len(found) - 1)
            found[level, :, : size[0], : size[1]] = smoothed(inside, sigma) if self.removal == "blur" else colour
        return found

    def _shares(self, objects: ExplainedObjects, frame: Frame, size: tuple[int, int]) -> Float[Tensor, "object area"]:
        """Return which share of the image each mask may take."""
        areas = torch.tensor(self.areas)
        if self.area_of == "image":
            return areas.expand(len(objects), -1)
        boxes = frame.to_canvas(objects.boxes)
        extents = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
        if objects.masks is not None:
            pixels = objects.masks.flatten(1).sum(1) * (frame.scale[0] * frame.scale[1])
            extents = torch.where(pixels > 0, pixels, extents)
        return (extents[:, None] * areas / (size[0] * size[1])).clamp(max=1)


def _batches(count: int, method: ExtremalPerturbation) -> Sequence[Int64[Tensor, " pair"]]:
    return torch.arange(count).split(method.batch_size)


def _removed(levels: Tensor, masks: Tensor, size: tuple[int, int]) -> Float[Tensor, "mask 3 rows columns"]:
    """Return the image as it is where a mask is 1, and at the last level where it is 0."""
    places = (1 - masks)[:, None] * (len(levels) - 1)
    numbers = torch.arange(len(levels), device=levels.device)[:, None, None]
    parts = (1 - (places - numbers).abs()).clamp(min=0)
    inside = torch.einsum("mlhw,lchw->mchw", parts, levels[..., : size[0], : size[1]])
    versions = levels[:1].repeat(len(masks), 1, 1, 1)
    versions[..., : size[0], : size[1]] = inside
    return versions
