"""One image's loss is no number: it alone is taken back, tried again, and stopped."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.loss_recorder import LossRecorder
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.fit import fit_batch
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import load_preset
from detinv.runtime.quiet import quiet_lightning
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS

STEPS = 8


class Spoil(pl.Callback):
    """Makes the values of one image NaN before some steps, as a step that was too long would."""

    def __init__(self, row: int, steps: tuple[int, ...]):
        self.row, self.steps = row, steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in self.steps:
            pl_module.pixels.values.data[self.row] = torch.nan


class Watch(pl.Callback):
    """The values after every step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(pl_module.pixels.values.detach().clone())


def run(*callbacks: pl.Callback, optimizer=None):
    preset = load_preset("default")
    if optimizer is not None:
        object.__setattr__(preset, "optimizer", optimizer)
    object.__setattr__(preset, "updates", ())
    guard, recorder = StopNonFinite(), LossRecorder(every_n_steps=1)
    trainer = {"accelerator": "cpu"}
    ensemble = as_ensemble(tiny_detector("retinanet"))
    with quiet_lightning():
        fit_batch(ensemble, LAYOUTS[:2], preset, STEPS, 0, trainer, [recorder, *callbacks], [guard])
    return guard, recorder


OPTIMIZERS = [None, partial(torch.optim.Adam, lr=0.01), partial(torch.optim.SGD, lr=0.01, momentum=0.9)]


@pytest.mark.parametrize(
    "optimizer",
    [OPTIMIZERS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in OPTIMIZERS[1:])],
    ids=["normalised", "adam", "sgd"],
)
def test_the_neighbour_never_notices(optimizer):
    clean, spoilt = Watch(), Watch()
    run(clean, optimizer=optimizer)
    run(spoilt, Spoil(0, (2, 3, 4, 5)), optimizer=optimizer)
    for before, after in zip(clean.values, spoilt.values, strict=True):
        assert torch.equal(before[1], after[1])
    assert all(bool(torch.isfinite(values).all()) for values in spoilt.values)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["normalised", "adam", "sgd"])
def test_after_the_first_time_it_goes_on_with_small_steps(optimizer):
    watch = Watch()
    guard, _ = run(watch, Spoil(0, (3,)), optimizer=optimizer)
    assert not guard.stopped
    # Back to where the loss of step 2 was taken, which is what step 1 left.
    assert torch.equal(watch.values[3][0], watch.values[1][0])
    before = (watch.values[1][0] - watch.values[0][0]).abs().mean()
    after = (watch.values[4][0] - watch.values[3][0]).abs().mean()
    assert 0 < float(after) < 0.5 * float(before)


def test_the_second_time_it_stays_and_is_reported():
    watch = Watch()
    guard, recorder = run(watch, Spoil(0, (3, 5)))
    assert set(guard.stopped) == {0}
    assert "not finite at step 5" in guard.stopped[0]
    assert "loss term" in guard.stopped[0]
    assert torch.equal(watch.values[5][0], watch.values[-1][0])
    assert not torch.equal(watch.values[5][1], watch.values[-1][1])
    assert all(row["total"] == row["total"] for row in recorder.rows), "rows are means over the images that count"


def test_a_gradient_that_is_no_number_counts_as_well():
    class SpoilGradient(pl.Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            if trainer.global_step in (1, 2):
                self.handle = pl_module.pixels.values.register_hook(self.spoilt)

        def spoilt(self, gradient):
            self.handle.remove()
            gradient = gradient.clone()
            gradient[1, 0, 3, 3] = torch.inf
            return gradient

    guard, _ = run(SpoilGradient())
    assert set(guard.stopped) == {1}
    assert "gradient" in guard.stopped[1]
