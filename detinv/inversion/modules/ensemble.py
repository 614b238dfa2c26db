"""The detectors that read an image: usually one; several for a joint inversion.

An image that several networks, trained apart, all read as the layout cannot be the private noise of one of them.
"""

import math
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
from detinv.detectors.load import build_detector, load_detector
from detinv.errors import ConfigError, DetectorError
from detinv.inversion.modules.network import Network
from detinv.layouts.batch import LayoutBatch, canvas_size
from detinv.layouts.layout import Detections
from detinv.types import Pixels


class Member(nn.Module):
    """One detector of an ensemble, with the image as it wants it.

    Args:
        name: of the detector.
        detector: frozen.
        class_names: of the ensemble, in the ensemble's order; the detector may have another.
        frame_of: whose input frame the images have; None for the detector's own.

    Attributes:
        network: the detector's raw predictions, as steps need them.
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
        self._shown: LayoutBatch | None = None

    def show(
        self, image: Pixels, layouts: LayoutBatch
    ) -> tuple[Float[Tensor, "batch 3 own_height own_width"], LayoutBatch]:
        """Image and layouts as the detector wants them; the same layouts object for as long as `layouts` is the same.

        Args:
            image: RGB in the ensemble's frame; differentiable.
            layouts: what holds in it. On an ensemble of several detectors all are of one size.
        """
        if not self._foreign:
            return image, layouts
        height, width = layouts.image_sizes[0]
        size = self.detector.network_size((height, width))
        image = image[..., :height, :width]
        if size != (height, width):
            image = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        canvas = canvas_size([size], self.detector.size_divisor)
        if canvas != size:
            image = on_canvas(self.detector, image, canvas)
        if layouts is not self._source:
            self._source, self._shown = layouts, self._translated(layouts, size, canvas)
        assert self._shown is not None
        return image, self._shown

    def _translated(self, layouts: LayoutBatch, size: tuple[int, int], canvas: tuple[int, int]) -> LayoutBatch:
        height, width = layouts.image_sizes[0]
        factors = layouts.boxes.new_tensor([size[1] / width, size[0] / height] * 2)
        masks = layouts.masks
        if masks is not None:
            inside = masks[..., :height, :width].float()
            masks = F.interpolate(inside, size, mode="nearest-exact") > 0.5
            masks = F.pad(masks, (0, canvas[1] - size[1], 0, canvas[0] - size[0]))
        return replace(
            layouts,
            boxes=layouts.boxes * factors,
            labels=self._own_label[layouts.labels],
            canvas_size=canvas,
            image_sizes=(size,) * len(layouts),
            masks=masks,
        )

    def detect(self, images: Sequence[UInt8[Tensor, "3 _height _width"]]) -> list[Detections]:
        """The detector's own inference, with the ensemble's labels; classes the ensemble does not have are dropped."""
        found = []
        for one in self.detector.detect(images):
            labels = self._ensemble_label[one.labels]
            found.append(replace(one, labels=labels).select(labels >= 0))
        return found


class Ensemble(nn.Module):
    """Detectors that shall all read an image as the layout; images live in the input frame of the first.

    Args:
        detectors: by name; classes must be the same ones, in whatever order.
        shares: factor of each detector, by name; 1 for those not named.
        balance: "gradient" gives every detector's gradient the same root mean square in every image, times its share,
            so that none drowns the others; "none" adds the losses as they are, times the shares.

    Raises:
        DetectorError: when there is no detector or the classes differ.
        ConfigError: for a share of a detector that is not there, or one that is not positive.
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
        self.network_size = first.network_size
        self.detections_per_image = min(detector.detections_per_image for detector in detectors.values())
        # Images of a joint batch are of one size, so that each detector may pad them its own way.
        self.batch_divisor = 1 if joint else first.size_divisor
        self.size_divisor = math.lcm(*(detector.size_divisor for detector in detectors.values()))

    def compiled(self, mode: str | None) -> "Ensemble":
        """This ensemble, whose networks `torch.compile` compiles in that mode when they first run."""
        check_mode(mode)
        for member in self:
            member.network.compile_mode = mode
        return self

    @property
    def is_compiled(self) -> bool:
        """Whether any of its networks is."""
        return any(member.network.compile_mode is not None for member in self)

    def __iter__(self) -> Iterator[Member]:
        for member in self.members:
            assert isinstance(member, Member)
            yield member

    def __len__(self) -> int:
        return len(self.members)

    @property
    def pixel_mean(self) -> Float[Tensor, " 3"]:
        """The colour round images on their canvas: the first detector's."""
        return next(iter(self)).detector.pixel_mean

    def train(self, mode: bool = True) -> "Ensemble":
        """Stays in evaluation mode, as its detectors do."""
        return super().train(False)

    def weigh(self, image: Pixels, member: Member) -> Pixels:
        """`image`, whose gradient through `member` counts as balance and shares say."""
        if len(self) == 1:
            return image
        return _Weighed.apply(image, self.shares[member.name], self.balance == "gradient")


def as_ensemble(detector: "AbstractDetector | str | Ensemble | Sequence[AbstractDetector | str]") -> Ensemble:
    """An ensemble of whatever `invert` is given: a detector, its name, or several of either."""
    if isinstance(detector, Ensemble):
        return detector
    if isinstance(detector, AbstractDetector | str):
        detector = [detector]
    loaded: dict[str, AbstractDetector] = {}
    for one in detector:
        stem = one if isinstance(one, str) else type(one).__name__
        name, number = stem, 1
        while name in loaded:
            number += 1
            name = f"{stem}-{number}"
        loaded[name] = load_detector(one) if isinstance(one, str) else one
    return Ensemble(loaded)


def assemble_ensemble(
    members: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, float] | None = None,
    balance: str = "gradient",
) -> Ensemble:
    """The ensemble that `detector=[a,b,c]` describes.

    Args:
        members: by name, the entries of each detector's registration.
        shares, balance: see `Ensemble`.
    """
    return Ensemble({name: build_detector(node) for name, node in members.items()}, shares, balance)


class _Weighed(torch.autograd.Function):
    """The identity, whose gradient is brought to one size per image, and multiplied."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, share: float, balanced: bool) -> Tensor:
        ctx.share, ctx.balanced = share, balanced
        return image.view_as(image)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.balanced:
            size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
            gradient = gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)
        return gradient * ctx.share, None, None
