"""The detectors that an image is optimised for: usually one; several for a joint inversion.

An image in which several independently trained networks all detect the layout cannot be an artefact of one of them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from detinv.detectors.acceleration.compile import check_mode
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.colours import checked_colours, checked_contrast
from detinv.detectors.load import as_detector, build_detector
from detinv.errors import ConfigError, DetectorError
from detinv.inversion.modules.network import Network
from detinv.layouts.batch import LayoutBatch, canvas_size
from detinv.layouts.layout import Detections
from detinv.types import Pixels

# The options of a detector, as an error names them.
_ALONE = re.compile(r"\bdetector\.(?=[a-z_]+=)")


class Member(nn.Module):
    """One detector of an ensemble; converts images, layouts and labels between the ensemble's frame and its own.

    Args:
        name: of the detector.
        detector: frozen.
        class_names: of the ensemble, in the ensemble's order, which may differ from the detector's.
        frame_of: the detector whose input frame the images are in; None for this one.

    Attributes:
        network: computes the detector's raw predictions in steps.
    """

    _own_label: Tensor

    def __init__(
        self, name: str, detector: AbstractDetector, class_names: Sequence[str], frame_of: AbstractDetector | None
    ) -> None:
        super().__init__()
        self.name = name
        self.detector = detector
        self.network = Network(detector)
        self._foreign = frame_of is not None and frame_of is not detector
        own = [detector.class_names.index(label) for label in class_names]
        device = detector.device
        self.register_buffer("_own_label", torch.tensor(own, device=device), persistent=False)
        back = torch.full((len(detector.class_names),), -1)
        back[own] = torch.arange(len(own))
        self._ensemble_label = back
        self._source: LayoutBatch | None = None
        self._own_layouts: LayoutBatch | None = None

    def in_own_frame(
        self, image: Pixels, layouts: LayoutBatch
    ) -> tuple[Float[Tensor, "batch 3 own_height own_width"], LayoutBatch]:
        """Convert images and layouts to the detector's own input frame and labels.

        Args:
            image: RGB in [0, 1] in the ensemble's frame; differentiable.
            layouts: of the images. In an ensemble of several detectors all have the same size.

        Returns:
            Images on the detector's canvas, and layouts; the same object for as long as `layouts` is the same.
        """
        if not self._foreign:
            return image, layouts
        height, width = layouts.image_sizes[0]
        own_height, own_width = self.detector.network_size((height, width))
        size = (own_height, own_width)
        image = image[..., :height, :width]
        if size != (height, width):
            image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        canvas = canvas_size([size], self.detector.size_divisor)
        if canvas != size:
            image = on_canvas(self.detector, image, canvas)
        if layouts is not self._source:
            self._source, self._own_layouts = layouts, self._translated(layouts, size, canvas)
        assert self._own_layouts is not None
        return image, self._own_layouts

    def _translated(self, layouts: LayoutBatch, size: tuple[int, int], canvas: tuple[int, int]) -> LayoutBatch:
        height, width = layouts.image_sizes[0]
        # Side by side: a tensor of the factors would have to be sent to the device, which waits for it.
        factors = (size[1] / width, size[0] / height) * 2
        sides = [side * factor for side, factor in zip(layouts.boxes.unbind(-1), factors, strict=True)]
        masks = layouts.masks
        if masks is not None:
            inside = masks[..., :height, :width].float()
            masks = F.interpolate(inside, size, mode="nearest-exact") > 0.5
            masks = F.pad(masks, (0, canvas[1] - size[1], 0, canvas[0] - size[0]))
        return replace(
            layouts,
            boxes=torch.stack(sides, dim=-1),
            labels=self._own_label[layouts.labels],
            canvas_size=canvas,
            image_sizes=(size,) * len(layouts),
            masks=masks,
        )

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """Run the detector's own inference on 8-bit images, in its own frame.

        Returns:
            Detections with the ensemble's labels; classes that the ensemble does not have are dropped.
        """
        found = []
        for one in self.detector.detect(images):
            labels = self._ensemble_label[one.labels]
            found.append(replace(one, labels=labels).select(labels >= 0))
        return found


class Ensemble(nn.Module):
    """The detectors that shall all detect the layout in an image; images are in the input frame of the first.

    Args:
        detectors: by name; their classes must be the same, in any order.
        shares: factor of each detector, by name; 1 for those not named.
        balance: "gradient" gives every detector's gradient the same root mean square in every image, times its share,
            so that none dominates; "none" adds the losses unchanged, times the shares.

    Attributes:
        colour_covariance, contrast: those of the first detector that was trained on photographs, or of the first.

    Raises:
        DetectorError: when there is no detector, the classes differ, or a `colour_covariance` or `contrast` is none.
        ConfigError: for a share of an unknown detector, or one that is not positive.
    """

    def __init__(
        self,
        detectors: Mapping[str, AbstractDetector],
        shares: Mapping[str, float] | None = None,
        balance: str = "gradient",
    ) -> None:
        super().__init__()
        if not detectors:
            raise DetectorError("a joint inversion needs at least one detector")
        first_name, first = next(iter(detectors.items()))
        for name, detector in detectors.items():
            if set(detector.class_names) != set(first.class_names):
                only = sorted(set(detector.class_names) ^ set(first.class_names))
                raise DetectorError(
                    f"{first_name} and {name} do not have the same classes ({', '.join(only[:3])}, ...); a joint "
                    "inversion needs detectors of the same classes"
                )
        given = dict(shares or {})
        for name, share in given.items():
            if name not in detectors:
                raise ConfigError(f"shares.{name}: no such detector here (there are: {', '.join(detectors)})")
            if not share > 0:
                raise ConfigError(f"shares.{name}={share}: choose a number above 0")
        if balance not in ("gradient", "none"):
            raise ConfigError(f"balance={balance}: choose gradient or none")
        joint = len(detectors) > 1
        self.members = nn.ModuleList(
            Member(name, detector, first.class_names, first if joint else None) for name, detector in detectors.items()
        )
        self.shares = {name: float(given.get(name, 1.0)) for name in detectors}
        self.balance = balance
        self.class_names = first.class_names
        shown = next((one for one in detectors.values() if one.trained_on_photographs), first)
        self.colour_covariance = checked_colours(shown.colour_covariance)
        self.contrast = checked_contrast(shown.contrast)
        self.network_size = first.network_size
        self.detections_per_image = min(detector.detections_per_image for detector in detectors.values())
        # Images of a joint batch are of one size, so that each detector may pad them its own way.
        self.batch_divisor = 1 if joint else first.size_divisor
        self.size_divisor = math.lcm(*(detector.size_divisor for detector in detectors.values()))

    def compiled(self, mode: str | None) -> "Ensemble":
        """Have `torch.compile` compile the networks in that mode when they first run; returns this ensemble."""
        check_mode(mode)
        for member in self:
            member.network.compile_mode = mode
        return self

    @property
    def has_masks(self) -> bool:
        """Whether any of its detectors reports masks."""
        return any(member.detector.has_masks for member in self)

    @property
    def trained_on_photographs(self) -> bool:
        """Whether any of its detectors was."""
        return any(member.detector.trained_on_photographs for member in self)

    @property
    def is_compiled(self) -> bool:
        """Whether any of its networks is compiled."""
        return any(member.network.compile_mode is not None for member in self)

    def __iter__(self) -> Iterator[Member]:
        for member in self.members:
            assert isinstance(member, Member)
            yield member

    def __len__(self) -> int:
        return len(self.members)

    @property
    def pixel_mean(self) -> Float[Tensor, " 3"]:
        """Colour of the canvas around images, RGB in [0, 1]: the first detector's mean."""
        return next(iter(self)).detector.pixel_mean

    def train(self, mode: bool = True) -> "Ensemble":
        """Stay in evaluation mode, as the detectors do."""
        return super().train(False)

    def weigh(self, image: Pixels, member: Member, loss_scale: Float[Tensor, " batch"] | None = None) -> Pixels:
        """Return `image` unchanged, but scale its gradient through `member` according to balance and shares.

        Args:
            loss_scale: factor of each image's loss, which a balanced gradient keeps.
        """
        if len(self) == 1:
            return image
        balanced = self.balance == "gradient"
        scale = None if loss_scale is None or not balanced else loss_scale[:, None, None, None]
        return _Weighed.apply(image, self.shares[member.name], balanced, scale)


def as_ensemble(detector: "AbstractDetector | str | Ensemble | Sequence[AbstractDetector | str]") -> Ensemble:
    """Make an ensemble of what `invert` accepts: a detector, its name, or several of either."""
    if isinstance(detector, Ensemble):
        return detector
    if not isinstance(detector, Sequence) or isinstance(detector, str):
        detector = [detector]
    loaded: dict[str, AbstractDetector] = {}
    for one in detector:
        stem = one if isinstance(one, str) else type(one).__name__
        name, number = stem, 1
        while name in loaded:
            number += 1
            name = f"{stem}-{number}"
        loaded[name] = as_detector(one)
    return Ensemble(loaded)


def assemble_ensemble(
    members: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, float] | None = None,
    balance: str = "gradient",
) -> Ensemble:
    """Build the ensemble that `detector=[a,b,c]` describes.

    Args:
        members: by name, the entries of each detector's registration.
        shares, balance: see `Ensemble`.
    """
    return Ensemble({name: _build_member(name, node) for name, node in members.items()}, shares, balance)


def _build_member(name: str, node: Mapping[str, Any]) -> AbstractDetector:
    try:
        return build_detector(node)
    except DetectorError as error:
        # Detectors do not know that they are one of several.
        raise DetectorError(_ALONE.sub(f"detector.members.{name}.", str(error))) from error


class _Weighed(torch.autograd.Function):
    """The identity; its gradient is normalised per image and multiplied by a share."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, share: float, balanced: bool, scale: Tensor | None) -> Tensor:
        ctx.share, ctx.balanced, ctx.scale = share, balanced, scale
        return image.view_as(image)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.balanced:
            size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
            gradient = gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)
        if ctx.scale is not None:
            gradient = gradient * ctx.scale
        return gradient * ctx.share, None, None, None
