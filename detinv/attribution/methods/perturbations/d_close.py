"""What random sets of superpixels of several sizes have in common that leave a detection as it was."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.attribution.trials.cells import on_canvas, superpixels
from detinv.attribution.trials.values import DetectionLikeness
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class DClose(ImageMethod):
    """D-CLOSE: masks of superpixels, weighted by how well they leave the detection, and joined over several sizes.

    One pass serves all objects of the image. As in D-RISE, the question is the detection as a whole, whatever is asked.

    Args:
        levels: of superpixels, each with twice as many as the one before.
        superpixels: of the first level.
        compactness: of superpixels; see `superpixels`.
        masks: of each level; an even number, since each is used with its complement.
        batch_size: images that pass through the network together.

    Source: Truong et al. 2023, "Towards Better Explanations for Object Detection"; numbers of superpixels and masks and
    how levels are joined, are as published.

    Departures: masks in pairs of complements; raw predictions before suppression instead of detections, which they
    contain, and scores with a column for the background; covered pixels have the mean colour; our own superpixels.
    """

    levels: int = 5
    superpixels: int = 150
    compactness: float = 10.0
    masks: int = 800
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_range(self, "levels superpixels masks batch_size", 1)
        check_range(self, "compactness", above=True)
        if self.masks % 2:
            raise ConfigError(f"masks={self.masks}: choose an even number, since masks come in pairs")

    @torch.no_grad()
    def explain(
        self,
        detector: AbstractDetector,
        image: Tensor,
        objects: ExplainedObjects,
        questions: Sequence[Question],
        seed: int,
    ) -> ImageMaps:
        pixels, frame, size = canvas_of(detector, image)
        values = DetectionLikeness.of(detector, pixels, size, frame.to_canvas(objects.boxes), objects.labels)
        empty = detector.pixel_mean[:, None, None].expand_as(pixels[0])
        joined = torch.zeros(len(objects), *pixels.shape[2:], device=pixels.device)
        for level in reversed(range(self.levels)):
            parts = superpixels(
                pixels[0, :, : size[0], : size[1]], self.superpixels * 2**level, compactness=self.compactness
            )
            cells = on_canvas(parts, (pixels.shape[2], pixels.shape[3])).to(pixels.device)
            mine = self._level_map(values, pixels, empty, cells, seed * 1_000_003 + level)
            # Finest first: each coarser level strengthens what it confirms and fades what it does not.
            joined = mine if level == self.levels - 1 else (joined + mine) * mine
        found = joined[:, None].expand(-1, len(questions), -1, -1).clone()
        return ImageMaps(found, 1 + self.levels * self.masks, 0)

    def _level_map(
        self,
        values: DetectionLikeness,
        pixels: Tensor,
        empty: Tensor,
        cells: Int64[Tensor, "height width"],
        seed: int,
    ) -> Float[Tensor, "object height width"]:
        """Return the map of one level, from 0 to 1."""
        count = int(cells.max()) + 1
        generator = torch.Generator().manual_seed(seed)
        half = max(1, self.batch_size // 2)
        total: Tensor | None = None
        seen = torch.zeros(count, device=pixels.device)
        for start in range(0, self.masks // 2, half):
            # One mask at a time, so that batches of any size see the same masks.
            rows = [torch.rand(count, generator=generator) < 0.5 for _ in range(min(half, self.masks // 2 - start))]
            shown = torch.cat([torch.stack(rows), ~torch.stack(rows)]).to(pixels.device)
            # The last column, which padding refers to, always shows.
            always = torch.cat([shown, torch.ones_like(shown[:, :1])], 1)
            weights = values.of_all(torch.where(always[:, cells][:, None], pixels, empty))
            found = weights.T @ shown.float()
            total = found if total is None else total + found
            seen += shown.sum(0)
        assert total is not None
        means = total / seen.clamp(min=1)
        low, high = means.amin(1, keepdim=True), means.amax(1, keepdim=True)
        scaled = (means - low) / (high - low).clamp(min=1e-12)
        return torch.cat([scaled, torch.zeros_like(scaled[:, :1])], 1)[:, cells]
