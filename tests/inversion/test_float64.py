"""A step needs no float64 on the device: Apple's GPUs have none, and `accelerator: auto` chooses them."""

import itertools
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops import MultiScaleRoIAlign

from detinv.inversion.callbacks.first_step import FirstStep
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.loss_scaling import LossScaling
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.callbacks.pixel_updates import PixelUpdates
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.callbacks.stop_when_asked import StopWhenAsked
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.modules.inversion import Inversion
from detinv.inversion.preset import load_preset
from detinv.layouts.batch import LayoutBatch
from detinv.runtime.loggers import Dashboard
from tests.fakes import FAMILIES, tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS

DEVICE = "meta"
"""Stands for a GPU: tensors there have shape and type, but no values, so nothing can be read back either."""


class RefuseFloat64(TorchDispatchMode):
    """Raises where a float64 tensor comes to be on the device."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64 and value.device.type == DEVICE:
                raise TypeError(f"{function} gives float64 on the device")
        return found


def trainer_of(module: Inversion) -> Mock:
    """What callbacks and modules ask a trainer."""
    trainer = Mock(spec=pl.Trainer, global_step=4, precision="32-true")
    trainer.optimizers = [module.configure_optimizers()["optimizer"]]
    return trainer


def pooled(self, features, boxes, image_shapes):
    """The shape of what regions give; which level pools which region is decided by values."""
    first = next(iter(features.values()))
    return first.mean() * torch.ones(sum(map(len, boxes)), first.shape[1], *self.output_size, device=first.device)


def test_the_device_refuses():
    with RefuseFloat64():
        torch.zeros(1, dtype=torch.float64)
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(1, dtype=torch.float64).to(DEVICE)


def cases() -> list:
    """Every family with every preset; all but one or two of each are slow tests."""
    quick = {(family, "default") for family in ("retinanet", "fcos", "fasterrcnn", "ssd")}
    quick |= {("retinanet", "fast"), ("maskrcnn", "paper")}
    every = itertools.product((*FAMILIES, "ssd"), ("default", "paper", "fast"))
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in every]


@pytest.mark.parametrize(("family", "preset"), cases())
def test_a_training_step_with_all_callbacks_needs_no_float64(monkeypatch, family: str, preset: str):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    chosen, detector = load_preset(preset), tiny_detector(family)
    with torch.no_grad():
        # Pooling learns the strides of its levels from the first images.
        detector(torch.rand(1, 3, 64, 64))
    monkeypatch.setattr(MultiScaleRoIAlign, "forward", pooled)
    batch = LayoutBatch.collate(LAYOUTS, detector.size_divisor)
    module = Inversion(
        as_ensemble(detector),
        batch,
        chosen.pixels(batch, detector.pixel_mean.flatten(), 0),
        chosen.objective,
        chosen.optimizer,
        chosen.schedule,
        10,
        chosen.augmentation,
        0,
    ).to(DEVICE)
    module.views.to(torch.device(DEVICE))
    trainer = trainer_of(module)
    module.trainer = trainer
    recorder = LossRecorder(every_n_steps=1)
    callbacks = [
        LossScaling(),
        PseudoTargets(chosen.rule, chosen.matching),
        StopNonFinite(),
        PixelUpdates(chosen.updates),
        FirstStep(),
        recorder,
        ImageLogging(LAYOUTS, recorder, Dashboard()),
        StopWhenAsked(lambda: False),
    ]
    with RefuseFloat64():
        for callback in callbacks:
            callback.on_fit_start(trainer, module)
        loss = module.training_step(0, 0)
        loss.backward()
        for callback in callbacks:
            callback.on_after_backward(trainer, module)
        trainer.optimizers[0].step()
        # Blurs follow step 0, 5, ...
        trainer.global_step += 2
        for callback in callbacks:
            callback.on_train_batch_end(trainer, module, None, 0, 0)
    assert loss.device.type == DEVICE
    assert module.pixels.values.grad.shape == module.pixels.values.shape
