"""What random masks have in common that leave a detection as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.core.raw_outputs import raw_outputs
from detinv.attribution.methods.base import ImageMaps, ImageMethod
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError
from detinv.inputs.ranges import check_range
from detinv.layouts.boxes import pairwise_iou


@dataclass(frozen=True)
class DRISE(ImageMethod):
    """D-RISE: masks weighted by how well the masked image still shows the detection, IoU times cosine of the classes.

    One pass serves all objects of the image: only sums are kept, so memory does not depend on the number of masks. The
    question is the detection as a whole, whatever is asked; the map answers "score".

    Args:
        masks: how many; an even number, since each is used with its complement.
        cells: of the random grid along each axis.
        probability: of a cell to be seen.
        candidates: raw predictions of highest score that are compared in each masked image.
        batch_size: images that pass through the network together.

    Source: Petsiuk et al. 2021, "Black-box Explanation of Object Detectors via Saliency Maps", section 3.

    Departures: masks in pairs of complements, which halves the variance where probability is 0.5; raw predictions
    before suppression instead of detections, which they contain; the map is divided by the sum of the masks at each
    pixel, as in RISE; masked pixels have the mean colour instead of black.
    """

    masks: int = 1000
    cells: int = 16
    probability: float = 0.5
    candidates: int = 300
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_range(self, "masks cells candidates batch_size", 1)
        check_range(self, "probability", 0.0, 1.0, above=True)
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
        boxes, wanted = self.targets(detector, pixels, size, frame, objects)
        colour = detector.pixel_mean[:, None, None]
        content = pixels - colour
        margin = (0, pixels.shape[3] - size[1], 0, pixels.shape[2] - size[0])
        total = torch.zeros(len(objects), *pixels.shape[2:], device=pixels.device)
        seen = torch.zeros(pixels.shape[2:], device=pixels.device)
        for part in self.batches(size, seed):
            masks = F.pad(part.to(pixels), margin)
            versions = torch.addcmul(colour, masks[:, None], content)
            weights = self._similarity(detector, versions, size, boxes, wanted)
            total += torch.einsum("mo,mhw->ohw", weights, masks)
            seen += masks.sum(0)
        found = total / seen.clamp(min=1e-6)
        return ImageMaps(found[:, None].expand(-1, len(questions), -1, -1).clone(), 1 + self.masks, 0)

    def batches(self, size: tuple[int, int], seed: int) -> Iterator[Float[Tensor, "mask height width"]]:
        """Yield all masks of an image in the batches in which they are used: random ones, then their complements.

        A mask is a random grid, enlarged bilinearly and moved by a part of a cell. It depends on its number and the
        seed alone, so batches of any size hold the same masks.

        Args:
            size: (height, width) of the image on the canvas.
        """
        half = max(1, self.batch_size // 2)
        cell = [-(-side // self.cells) for side in size]
        for start in range(0, self.masks // 2, half):
            numbers = range(start, min(start + half, self.masks // 2))
            grids = torch.empty(len(numbers), 1, self.cells + 1, self.cells + 1)
            corners = []
            for grid, number in zip(grids, numbers, strict=True):
                generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
                grid[:] = torch.rand(grid.shape, generator=generator) < self.probability
                corners.append([int(torch.randint(side, (1,), generator=generator)) for side in cell])
            large = [(self.cells + 1) * side for side in cell]
            enlarged = F.interpolate(grids, large, mode="bilinear", align_corners=False)[:, 0]
            masks = torch.stack(
                [
                    one[top : top + size[0], left : left + size[1]]
                    for one, (top, left) in zip(enlarged, corners, strict=True)
                ]
            )
            yield torch.cat([masks, 1 - masks])

    def targets(
        self, detector: AbstractDetector, pixels: Tensor, size: tuple[int, int], frame: Frame, objects: ExplainedObjects
    ) -> tuple[Float[Tensor, "object 4"], Float[Tensor, "object class"]]:
        """Return each object's box on the canvas, and the class scores of the raw prediction that shows it best.

        Args:
            pixels, frame, size: of the image; see `canvas_of`.
        """
        with torch.no_grad(), torch.autocast(detector.device.type, enabled=False):
            raw = raw_outputs(detector(pixels, [size]))
        boxes, classes = raw.boxes(), raw.scores
        mine = frame.to_canvas(objects.boxes).to(boxes)
        own = classes[0][:, objects.labels.to(boxes.device)].T
        best = (pairwise_iou(mine, boxes[0]) * own).argmax(1)
        return mine, classes[0][best]

    def _similarity(
        self, detector: AbstractDetector, versions: Tensor, size: tuple[int, int], boxes: Tensor, wanted: Tensor
    ) -> Float[Tensor, "mask object"]:
        with torch.autocast(detector.device.type, enabled=False):
            raw = raw_outputs(detector(versions, [size] * len(versions)))
        found, classes, best = raw.highest(self.candidates)
        alike = F.normalize(wanted, dim=-1) @ F.normalize(classes, dim=-1).transpose(1, 2)
        return (pairwise_iou(boxes.expand(len(found), -1, -1), found) * alike * best[:, None]).amax(2)
