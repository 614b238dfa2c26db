"""One batch of inversions as a LightningModule: the pixels are its only trained parameters."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.regions import Regions
from detinv.errors import TargetError
from detinv.inversion.modules.base import AbstractPixelModule, OptimizerFactory, StepOutcome
from detinv.inversion.modules.ensemble import Ensemble, Member
from detinv.inversion.modules.network import padding_rows
from detinv.inversion.objective.losses import Terms
from detinv.inversion.objective.objective import Objective
from detinv.inversion.objective.settling import Settling
from detinv.inversion.optim.schedules import Schedule
from detinv.inversion.pixels.augmentation import Augmentation
from detinv.inversion.pixels.pixels import AbstractPixels
from detinv.inversion.pixels.precondition import Preconditioner
from detinv.inversion.regularisers.base import AbstractRegulariser, regulariser_terms
from detinv.inversion.targets.base import Targets
from detinv.layouts.batch import LayoutBatch
from detinv.types import Pixels

Retarget = Callable[[str, Predictions, LayoutBatch], None]
"""Called before the loss with a detector's name, its detached predictions, and the layouts in its frame and view."""


class Inversion(AbstractPixelModule):
    """Moves pixels until the frozen detectors of `ensemble` report the layouts.

    A step takes a view of the pixels, predicts, compares with the pseudo-targets, and adds the regularisers. The
    callback `PseudoTargets` sets the pseudo-targets, from the predictions of that same step.

    Args:
        ensemble: of frozen detectors; moved to the device with the module, absent from checkpoints.
        layouts: one batch, in the ensemble's frame.
        pixels: the parametrised images.
        objective: loss terms and their weights.
        optimizer: from parameters to an optimiser that treats every pixel alone (SGD, Adam, ...).
        schedule: of the learning rate.
        steps: of the whole run.
        augmentation: random views.
        seed: of the views.
        regularisers: priors on the images, by name.
        precondition: of each image's gradient; None leaves it as it is.
        settling: other values for the last steps; None for the same.

    Attributes:
        targets: of the latest step, by detector; on the CPU with a padding row at the end.
        retarget: sets `targets`; see `PseudoTargets`.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        layouts: LayoutBatch,
        pixels: AbstractPixels,
        objective: Objective,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        steps: int,
        augmentation: Augmentation,
        seed: int,
        regularisers: Mapping[str, AbstractRegulariser] | None = None,
        precondition: Preconditioner | None = None,
        settling: Settling | None = None,
    ) -> None:
        if settling is not None:
            schedule = settling.schedule(schedule)
        super().__init__(ensemble, layouts, pixels, optimizer, schedule, steps, precondition)
        self._objective = objective
        self._settled_objective = objective if settling is None else settling.objective(objective)
        self._settles_at = steps if settling is None else settling.begin(steps)
        self.regularisers = dict(regularisers or {})
        self.views = augmentation.views(layouts, steps, seed)
        self.targets: dict[str, Targets] = {}
        self.retarget: Retarget | None = None
        self._padded: dict[str, tuple[LayoutBatch, LayoutBatch]] = {}

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        if self.ensemble.is_compiled:
            # The outputs of the last step's CUDA graphs may now be overwritten.
            torch.compiler.cudagraph_mark_step_begin()
        # Only the network runs in the trainer's precision; pixels and layouts need all digits of float32.
        with torch.autocast(self.device.type, enabled=False):
            centred = self.pixels.centred() if self._is_settling else self.centred()
            view, layouts = self.views.at(self.global_step, centred, self.pixels.mean, self.pixels.mask)
            image = self.pixels.mean + view
        terms: Terms = {}
        for member in self.ensemble:
            found = self._detector_terms(member, image, layouts)
            prefix = f"{member.name}/" if len(self.ensemble) > 1 else ""
            terms |= {f"{prefix}{name}": value for name, value in found.items()}
        with torch.autocast(self.device.type, enabled=False):
            terms |= regulariser_terms(self.regularisers, centred, self.pixels.mask)
            due = self.objective.due(terms, self.global_step)
            asked = self.objective.total(due, self.regularisers)
            total = asked if due is terms else self.objective.total(terms, self.regularisers)
        self.outcome = StepOutcome({name: value.detach() for name, value in terms.items()}, total.detach())
        return self.summed(asked)

    def _detector_terms(self, member: Member, image: Pixels, layouts: LayoutBatch) -> Terms:
        """The loss terms of one detector, one value per image."""
        pixels, own = member.in_own_frame(self.ensemble.weigh(image, member, self.loss_scale), layouts)
        predictions = member.network(pixels, own.image_sizes, Regions(own.boxes, own.valid))
        if pixels.requires_grad:
            predictions.check_gradient(member.detector)
        if self.retarget is not None:
            with torch.no_grad():
                self.retarget(member.name, predictions.detach(), self._padded_layouts(member.name, own))
        if member.name not in self.targets:
            raise TargetError("no pseudo-targets for this step; run the inversion with the callback PseudoTargets")
        # Losses need fp32: areas overflow fp16, and sigmoids round to one.
        with torch.autocast(self.device.type, enabled=False):
            terms = self.objective.detector_terms(predictions, self.targets[member.name])
        return {name: value[: len(own)] for name, value in terms.items()}

    def _padded_layouts(self, name: str, layouts: LayoutBatch) -> LayoutBatch:
        """A layout for each row of a network's predictions; the same object for as long as `layouts` is the same."""
        if not padding_rows(self.device):
            return layouts
        if name not in self._padded or self._padded[name][0] is not layouts:
            self._padded[name] = (layouts, layouts.with_padding_row())
        return self._padded[name][1]

    @property
    def _is_settling(self) -> bool:
        return self.global_step >= self._settles_at

    @property
    def objective(self) -> Objective:
        """The loss terms of the current step and their weights."""
        return self._settled_objective if self._is_settling else self._objective

    def on_fit_start(self) -> None:
        self.views.to(self.device)
        self.layouts = self.views.layouts
        self._padded.clear()
        for member in self.ensemble:
            member.network.prepare()
