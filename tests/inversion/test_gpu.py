"""On a GPU: a step of a one-stage detector, with everything that runs in it, never waits for the device."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.checkpoints import Checkpoints
from detinv.inversion.callbacks.first_step import FirstStep
from detinv.inversion.callbacks.image_logging import ImageLogging
from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.callbacks.stop_when_asked import StopWhenAsked
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from detinv.runtime.loggers import Dashboard
from detinv.runtime.quiet import quiet_lightning
from tests.fakes import tiny_detector

STEPS = 12


class NeverWaiting(pl.Callback):
    """Makes waiting for the device an error from the start of `training_step` to the end of all callbacks.

    Not in the first steps, which fill caches; and the last one copies losses to the host.
    """

    first, last = 3, STEPS - 2

    def __init__(self) -> None:
        self.guarded = 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int):
        if self.first <= batch_idx <= self.last:
            torch.cuda.set_sync_debug_mode("error")
            self.guarded += 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_a_step_does_not_synchronise(family: str, preset: str, precision: str):
    """By `fit_batch`, with every callback of a run: swaps, guards, updates, records, checkpoints."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    layouts = [Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([1]), (64, 64), name) for name in "ab"]
    recorder, never, trainer = LossRecorder(), NeverWaiting(), {"accelerator": "gpu", "precision": precision}
    callbacks = [
        FirstStep(),
        recorder,
        ImageLogging(layouts, recorder, Dashboard()),
        Checkpoints(lambda write: None, every_n_seconds=3600),
        StopWhenAsked(lambda: False),
        never,
    ]
    ensemble = as_ensemble(tiny_detector(family))
    try:
        with quiet_lightning():
            module = fit_batch(
                ensemble, layouts, load_preset(preset), STEPS, 0, trainer, callbacks, [StopNonFinite()], 4
            )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert never.guarded == NeverWaiting.last - NeverWaiting.first + 1
    assert len(recorder.rows) > 1 and all(row["total"] == row["total"] for row in recorder.rows)
    assert all(image.float().std() > 0 for image in module.images())
