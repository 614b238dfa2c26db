"""Images whose features in one layer of a detector are those of other images."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.features import read_features
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.fit import fit_module
from detinv.inversion.modules.base import AbstractPixelModule, OptimizerFactory, StepOutcome
from detinv.inversion.modules.ensemble import Ensemble, as_ensemble
from detinv.inversion.objective.losses import Terms
from detinv.inversion.optim.schedules import Schedule
from detinv.inversion.pixels.pixels import AbstractPixels
from detinv.inversion.pixels.precondition import Preconditioner
from detinv.inversion.preset import Preset
from detinv.inversion.regularisers.base import AbstractRegulariser, regulariser_terms
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from detinv.runtime.quiet import quiet_lightning
from detinv.types import Pixels

Images = Sequence[UInt8[Tensor, "3 _height _width"]]


class FeatureInversion(AbstractPixelModule):
    """Moves pixels until a layer's features are those of other images.

    Args:
        ensemble: of the one detector.
        layouts: one batch, in the detector's frame; their boxes are the regions of layers that are per region.
        pixels: the parametrised images.
        regularisers: priors on the images, by name.
        optimizer, schedule, steps, precondition: see `AbstractPixelModule`.
        layer: where features are compared.
        wanted: the other images, on the layouts' canvas.

    Source: section G.10 of the method, after Mahendran & Vedaldi 2015.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        layouts: LayoutBatch,
        pixels: AbstractPixels,
        regularisers: Mapping[str, AbstractRegulariser],
        optimizer: OptimizerFactory,
        schedule: Schedule,
        steps: int,
        layer: FeatureLayer,
        wanted: Pixels,
        precondition: Preconditioner | None = None,
    ) -> None:
        super().__init__(ensemble, layouts, pixels, optimizer, schedule, steps, precondition)
        self.regularisers = dict(regularisers)
        self.layer = layer
        self._wanted = wanted
        self._reference: list[Tensor] = []

    def features(self, pixels: Pixels) -> list[Tensor]:
        """Return the features of images on the canvas, with gradient."""
        return read_features(next(iter(self.ensemble)).detector, self.layer, pixels, self.layouts)

    @torch.no_grad()
    def on_fit_start(self) -> None:
        self.layouts = self.layouts.to(self.device)
        self._reference = self.features(self._wanted.to(self.device))

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        # Only the network runs in the trainer's precision.
        with torch.autocast(self.device.type, enabled=False):
            centred = self.centred()
            image = self.pixels.mean + centred
        features = self.features(image)
        with torch.autocast(self.device.type, enabled=False):
            error = relative_error(features, self._reference)
            priors = regulariser_terms(self.regularisers, centred, self.pixels.mask)
            weighted = [self.regularisers[name].weight * value for name, value in priors.items()]
            total = error + torch.stack(weighted).sum(0) if weighted else error
        terms: Terms = {"features": error, **priors}
        self.outcome = StepOutcome({name: value.detach() for name, value in terms.items()}, total.detach())
        return self.summed(total)


def relative_error(features: Sequence[Tensor], reference: Sequence[Tensor]) -> Float[Tensor, " batch"]:
    """Return the squared distance of all features of an image from the reference, over the reference's own square.

    It is 0 where both are equal, 1 where the features are all zero, and the distance itself where the reference is.
    """
    distance = sum((one - other).square().flatten(1).sum(1) for one, other in zip(features, reference, strict=True))
    size = sum(other.square().flatten(1).sum(1) for other in reference)
    assert isinstance(distance, Tensor)
    assert isinstance(size, Tensor)
    return distance / torch.where(size > 0, size, 1)


def invert_features(
    detector: AbstractDetector,
    layer: FeatureLayer,
    images: Images,
    layouts: Sequence[Layout],
    preset: Preset,
    *,
    steps: int = 200,
    seed: int = 0,
    trainer: Mapping[str, object] | None = None,
) -> list[UInt8[Tensor, "3 _height _width"]]:
    """Reconstruct images from their features in one layer, 8 bit; all images are optimised together.

    Pixels, precondition, optimizer, schedule, updates and regularisers are the preset's; its rules and views are not
    used.

    Args:
        detector: frozen; afterwards it is on the device where it was.
        images: RGB, at the size of the network's input.
        layouts: in the pixels of the images; their boxes matter to layers that are per region.
        steps: optimiser updates of each image.
        seed: of the start images.
        trainer: arguments of Lightning's Trainer.

    Raises:
        ConfigError: when the layer cannot be read; see `read_features`.
        ValueError: when an image does not have its layout's size.
    """
    ensemble = as_ensemble(detector)
    batch = LayoutBatch.collate(layouts, detector.size_divisor)
    wanted = _on_layout_canvas(detector, images, batch)
    module = FeatureInversion(
        ensemble,
        batch,
        preset.pixels(batch, detector.pixel_mean.cpu(), seed),
        preset.regularisers,
        preset.optimizer,
        preset.schedule,
        steps,
        layer,
        wanted,
        preset.precondition if detector.trained_on_photographs else None,
    )
    with quiet_lightning():
        fit_module(module, trainer or {}, [PixelUpdates(preset.updates)], [LossRecorder()])
    return module.images()


@torch.no_grad()
def feature_errors(
    detector: AbstractDetector, layer: FeatureLayer, images: Images, wanted: Images, layouts: Sequence[Layout]
) -> list[float]:
    """Return `relative_error` of the features of each image from those of the wanted one, in full precision."""
    found = []
    for image, other, layout in zip(images, wanted, layouts, strict=True):
        batch = LayoutBatch.collate([layout], detector.size_divisor).to(detector.device)
        features, reference = (
            read_features(detector, layer, _on_layout_canvas(detector, [one], batch), batch) for one in (image, other)
        )
        found.append(float(relative_error(features, reference)))
    return found


def _on_layout_canvas(detector: AbstractDetector, images: Images, batch: LayoutBatch) -> Pixels:
    """Place images at the upper left of the batch's canvas.

    Raises:
        ValueError: when an image does not have its layout's size.
    """
    for image, size in zip(images, batch.image_sizes, strict=True):
        if tuple(image.shape[1:]) != size:
            raise ValueError(f"an image of size {tuple(image.shape[1:])} for a layout of size {size}")
    return on_canvas(detector, images, batch.canvas_size)
