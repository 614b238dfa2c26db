"""What cannot be asked of an inversion is refused before anything is loaded or written."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from detinv.errors import ConfigError, LayoutError
from detinv.inversion.requests import check_layouts, check_options, check_precision
from detinv.inversion.run import invert
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS

FINE = {"steps": 0, "batch_size": 1, "log_images_every_n_steps": 1, "trainer": {"accelerator": "cpu"}}


@pytest.mark.parametrize("mode", [None, "default"])
def test_the_least_that_can_be_asked_is_allowed(mode):
    check_options(**FINE, compile_mode=mode)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"log_images_every_n_steps": 0}, "log_images_every_n_steps=0"),
        ({"trainer": {"precision": "16-true"}}, "trainer.precision=16-true"),
        ({"trainer": {"accelerator": "abacus"}}, "trainer: "),
        ({"compile_mode": "fastest"}, "compile_mode=fastest"),
    ],
)
def test_options_that_mean_nothing_are_named(wrong, problem):
    with pytest.raises(ConfigError, match=problem):
        check_options(**{**FINE, **wrong})


def test_further_tasks_of_a_slurm_job_do_not_concern_it(monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    check_options(**FINE)


def test_a_precision_goes_by_the_name_of_its_option():
    with pytest.raises(ConfigError, match="^precision=64: choose one of"):
        check_precision(64, "precision")


def test_layouts_that_a_detector_cannot_be_asked_for_are_named():
    detector = tiny_detector("retinanet")
    check_layouts(LAYOUTS, detector)
    beyond = replace(LAYOUTS[1], labels=torch.tensor([3]))
    for layouts, problem in (
        ([], "no layout"),
        ([LAYOUTS[0], LAYOUTS[0]], "two layouts are called 'a'"),
        ([LAYOUTS[0], beyond], "layout b: label 3 is beyond the detector's 3 classes"),
    ):
        with pytest.raises(LayoutError, match=problem):
            check_layouts(layouts, detector)
    detector.detections_per_image = 1
    with pytest.raises(LayoutError, match="layout a: 2 objects, but this detector reports at most 1"):
        check_layouts(LAYOUTS, detector)


def test_two_names_of_one_precision_are_one(tmp_path):
    """A folder's images are found again, whichever of Lightning's names was used."""
    options = {"steps": 1, "progress": False, "folder": tmp_path}
    for precision in ("32", "32-true", 32):
        check_options(**{**FINE, "trainer": {"accelerator": "cpu", "precision": precision}})
        trainer = {"accelerator": "cpu", "precision": precision}
        invert(tiny_detector("retinanet"), LAYOUTS[:1], trainer=trainer, **options)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 2.0}, {"steps": "2"}, {"batch_size": 1.5}, {"log_images_every_n_steps": 1.5}, {"seed": 1.0}],
)
def test_numbers_that_count_something_are_whole(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}=.*: choose a whole number"):
        check_options(**{**FINE, **wrong})


def test_whole_numbers_of_numpy_are_as_good():
    check_options(**{**FINE, "steps": np.int64(2), "seed": np.int32(1)})


@pytest.mark.parametrize(
    "given",
    [
        {"limit_train_batches": 1},
        {"limit_train_batches": 0},
        {"max_steps": 1},
        {"max_time": {"seconds": 0}},
        {"fast_dev_run": True},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.1},
        {"logger": True},
    ],
)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_trainer_cannot_leave_images_unfinished(given, devices):
    """They were stored as finished ones, and found again as such."""
    with pytest.raises(ConfigError, match=rf"trainer\.{next(iter(given))}=.*: leave it out; "):
        check_options(**{**FINE, "trainer": {"accelerator": "cpu", "devices": devices, **given}})


def test_what_is_no_callback_is_named():
    with pytest.raises(ConfigError, match="trainer.callbacks: 'watch' is not one of Lightning's callbacks"):
        check_options(**{**FINE, "trainer": {"accelerator": "cpu", "callbacks": ["watch"]}})


class Watch(pl.Callback):
    """Counts steps, and takes the image of each; asks to stop after `last` steps."""

    def __init__(self, last=None):
        self.steps, self.image, self.last = 0, None, last

    def on_train_batch_end(self, trainer, pl_module, *others):
        self.steps += 1
        self.image = pl_module.images()[0]
        trainer.should_stop = self.steps == self.last


@pytest.mark.parametrize("alone", [pytest.param(False, marks=pytest.mark.slow), True])
def test_callbacks_of_ones_own_see_every_step_as_it_will_be_kept(alone):
    watch, detector = Watch(), tiny_detector("retinanet")
    options = {"steps": 3, "progress": False}
    trainer = {"accelerator": "cpu", "callbacks": watch if alone else [watch]}
    result = invert(detector, LAYOUTS[:1], trainer=trainer, **options)
    assert watch.steps == 3
    assert torch.equal(watch.image, result.images[0])
    plain = invert(detector, LAYOUTS[:1], trainer={"accelerator": "cpu"}, **options)
    assert torch.equal(result.images[0], plain.images[0])


def test_an_image_that_a_callback_ended_early_is_not_taken_for_a_finished_one(tmp_path):
    trainer = {"accelerator": "cpu", "callbacks": [Watch(last=2)]}
    with pytest.raises(ConfigError, match="ended the run after step 2 of 4"):
        invert(tiny_detector("retinanet"), LAYOUTS[:1], steps=4, progress=False, folder=tmp_path, trainer=trainer)
    assert not list(tmp_path.glob("images/*"))
