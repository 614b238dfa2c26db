"""float16: each image's loss has a scale of its own, and one that overflows does not hold up the others."""

from functools import partial
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch

from detinv.inversion.callbacks.loss_scaling import LossScaling
from detinv.inversion.callbacks.non_finite import StopNonFinite
from detinv.inversion.fit import fit_batch, make_trainer
from detinv.inversion.modules.ensemble import as_ensemble
from detinv.inversion.preset import load_preset
from detinv.runtime.quiet import quiet_lightning
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS, inversion

STEPS = 6
START = 16.0


@pytest.fixture(autouse=True)
def small_scale(monkeypatch):
    """A scale at which nothing overflows by itself: the weights of these detectors are large."""
    monkeypatch.setattr("detinv.inversion.fit.LossScaling", partial(LossScaling, start=START))


class Overflow(pl.Callback):
    """Makes the gradient of one image infinite in some steps, as a loss scale that is too large does."""

    def __init__(self, row: int, steps: range) -> None:
        self.row, self.steps = row, steps

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step in self.steps:
            self.handle = pl_module.pixels.values.register_hook(self.spoilt)

    def spoilt(self, gradient):
        self.handle.remove()
        gradient = gradient.clone()
        gradient[self.row, 0, 3, 3] = torch.inf
        return gradient


class Watch(pl.Callback):
    """Pixels and scales after every step."""

    def __init__(self) -> None:
        self.values, self.scales = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(pl_module.pixels.values.detach().clone())
        self.scales.append(pl_module.loss_scale.tolist())


def run(*callbacks: pl.Callback, steps: int = STEPS, detectors=("retinanet",), optimizer=None):
    preset, guard, watch = load_preset("default"), StopNonFinite(), Watch()
    object.__setattr__(preset, "updates", ())
    if optimizer is not None:
        object.__setattr__(preset, "optimizer", optimizer)
    ensemble = as_ensemble([tiny_detector(family) for family in detectors])
    trainer = {"accelerator": "cpu", "precision": "16-mixed"}
    with quiet_lightning():
        fit_batch(ensemble, LAYOUTS[:2], preset, steps, 0, trainer, [watch, *callbacks], [guard])
    return watch, guard


@pytest.mark.slow
def test_one_image_s_overflow_holds_up_no_other():
    (clean, _), (spoilt, guard) = run(), run(Overflow(0, range(2, 4)))
    for before, after in zip(clean.values, spoilt.values, strict=True):
        assert torch.equal(before[1], after[1])
    start = spoilt.values[1][0]
    assert torch.equal(spoilt.values[2][0], start) and torch.equal(spoilt.values[3][0], start), "no step of its own"
    assert not torch.equal(spoilt.values[4][0], start), "it continues as soon as it can"
    assert clean.scales[-1] == spoilt.scales[1] == [START, START]
    assert spoilt.scales[-1] == [START / 4, START]
    assert not guard.stopped, "an overflow is no failure"


def test_a_gradient_that_is_infinite_without_scaling_stops_the_image():
    # Four steps bring its scale from 16 to 1.
    watch, guard = run(Overflow(1, range(100)), steps=9)
    assert set(guard.stopped) == {1}
    assert "gradient" in guard.stopped[1]
    assert watch.scales[-1][1] == 1.0
    assert not torch.equal(watch.values[-1][0], watch.values[-2][0])


def test_scales_grow_and_are_restored():
    scaling, trainer = LossScaling(every=2), Mock(spec=pl.Trainer)
    module = inversion(tiny_detector("retinanet"), LAYOUTS[:2])
    values = module.pixels.values
    scaling.on_fit_start(trainer, module)
    for step in range(3):
        values.grad = module.loss_scale[:, None, None, None].expand_as(values).clone()
        scaling.on_after_backward(trainer, module)
        assert torch.equal(values.grad, torch.ones_like(values)), "the gradient is that of the loss itself"
        scaling.after_step(trainer, module, step)
    assert module.loss_scale.tolist() == [2.0**17, 2.0**17]
    other = LossScaling(every=2)
    other.load_state_dict(scaling.state_dict())
    module.loss_scale = None
    other.on_fit_start(trainer, module)
    assert module.loss_scale.tolist() == [2.0**17, 2.0**17]


def test_balance_among_detectors_does_not_depend_on_the_scale():
    """The gradient of a balanced ensemble is of one size, whatever the loss was multiplied by."""
    sizes = []

    class Size(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            sizes.append(pl_module.pixels.values.grad.square().mean().sqrt())

    run(Size(), steps=1, detectors=("retinanet", "fcos"), optimizer=partial(torch.optim.SGD, lr=0.01))
    # Two gradients of root mean square 1 each, in whatever directions.
    assert 0.5 < float(sizes[0]) < 2.5


def test_float16_is_float16_on_a_cpu_too():
    """Lightning by itself would take bfloat16, and say so in a warning only."""
    trainer = make_trainer({"accelerator": "cpu", "precision": "16-mixed"})
    assert trainer.precision == "16-mixed"
    with trainer.precision_plugin.forward_context():
        assert torch.get_autocast_dtype("cpu") == torch.float16
