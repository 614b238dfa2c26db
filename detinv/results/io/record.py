"""The outcome of an inversion, as objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import UInt8
from torch import Tensor

from detinv.layouts.layout import Detections, Layout


@dataclass(frozen=True)
class InversionResult:
    """Inverted images, what the detectors themselves see in them, and how good that is.

    Args:
        layouts: the targets, in the pixels of the images.
        images: 8-bit RGB, cropped to the layouts' sizes; just what is saved as PNG.
        readings: what each detector's own inference reports on those images, by its name; usually of one.
        class_names: of the labels.
        metrics: plain numbers and strings, ready for JSON; see `metrics.json`.
        losses: one row per logged step: "step", "batch", then each term's mean over the images of the batch.
    """

    layouts: Sequence[Layout]
    images: Sequence[UInt8[Tensor, "3 height width"]]
    readings: Mapping[str, Sequence[Detections]]
    class_names: tuple[str, ...]
    metrics: Mapping[str, object] = field(default_factory=dict)
    losses: Sequence[Mapping[str, int | float]] = ()

    @property
    def missing(self) -> Mapping[str, str]:
        """Layouts that have no image, by id, and why."""
        found = self.metrics.get("missing", {})
        assert isinstance(found, Mapping)
        return found

    @property
    def stopped(self) -> Mapping[str, str]:
        """Layouts whose image is the last one with a finite loss, by id, and what happened then."""
        found = self.metrics.get("stopped", {})
        assert isinstance(found, Mapping)
        return found

    @property
    def detections(self) -> Sequence[Detections]:
        """What the first detector reports."""
        return next(iter(self.readings.values()))
