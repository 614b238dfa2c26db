"""What cannot be asked of an inversion is refused before anything is loaded or written."""

from dataclasses import replace

import pytest
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
