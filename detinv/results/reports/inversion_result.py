"""The outcome of an inversion: images, what the detectors report in them, and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import OutputError
from detinv.layouts.layout import Detections, Layout
from detinv.results.io.files import encode_png
from detinv.viz.overview import overview


@dataclass(frozen=True, eq=False, repr=False)
class InversionResult:
    """Inverted images, the detections of every detector in them, and how well they match the layouts.

    In a notebook, a result is displayed as its overview picture.

    Args:
        layouts: the targets, in the pixel frame of the images.
        images: 8-bit RGB, cropped to the sizes of the layouts; these are the pixels that are saved as PNG.
        member_detections: what each detector's own inference reports in those images, by the name of the detector;
            one entry, or one per member of an ensemble.
        class_names: names of the classes that the labels number.
        metrics: plain numbers and strings, ready for JSON: the contents of `metrics.json`.
        losses: one row per logged step: "step", "batch", then each term's mean over the images of the batch.
    """

    layouts: Sequence[Layout]
    images: Sequence[UInt8[Tensor, "3 _ _"]]
    member_detections: Mapping[str, Sequence[Detections]]
    class_names: tuple[str, ...]
    metrics: Mapping[str, object] = field(default_factory=dict)
    losses: Sequence[Mapping[str, int | float]] = ()

    @property
    def detections(self) -> Sequence[Detections]:
        """Detections of the first (usually the only) detector, one entry per image."""
        return next(iter(self.member_detections.values()))

    @property
    def missing(self) -> Mapping[str, str]:
        """The reason why a layout has no image, by layout id."""
        return self._reasons("missing")

    @property
    def stopped(self) -> Mapping[str, str]:
        """What stopped a layout whose image is the last one with a finite loss, by layout id."""
        return self._reasons("stopped")

    def save(self, folder: str | Path, *, title: str | None = None) -> Path:
        """Write what `detinv invert` writes into `folder`: images, annotations, detections, metrics and a report.

        The files are `images/<layout id>.png`, `layouts.json`, `detections.json`, `metrics.json`, `losses.csv`,
        `overview.png` and `report.html`; see `write_inversion`. Those of an earlier `save` are replaced.

        Args:
            folder: is created where it does not exist.
            title: heading of the report; by default the names of the detectors.

        Returns:
            The path of `report.html`, or of `metrics.json` when there is no image.

        Raises:
            OutputError: when the folder cannot be written, or belongs to a run of the command line.
        """
        # The writer imports this module.
        from detinv.results.reports.write_inversion import write_inversion

        folder = Path(folder)
        if (folder / "config.yaml").exists():
            raise OutputError(f"{folder} holds a run of the command line (it has a config.yaml); choose another")
        return write_inversion(self, folder, title or f"{', '.join(self.member_detections)} inverted")

    def __repr__(self) -> str:
        words = [f"{len(self.images)} image{'' if len(self.images) == 1 else 's'}", ", ".join(self.member_detections)]
        if "AP" in self.metrics:
            words.append(f"AP {self.metrics['AP']}")
        return f"InversionResult({'; '.join(words)})"

    def _repr_png_(self) -> bytes | None:
        """Return the overview picture as PNG, for notebooks; None, for no picture, when there is no image."""
        if not self.images:
            return None
        return encode_png(overview(self.layouts, self.images, self.member_detections, self.class_names))

    def _reasons(self, key: str) -> Mapping[str, str]:
        reasons = self.metrics.get(key, {})
        assert isinstance(reasons, Mapping)
        return reasons
