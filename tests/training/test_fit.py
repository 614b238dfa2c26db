"""A run that is continued ends with the weights of one that never stopped."""

from collections.abc import Callable

import pytest
import torch

from detinv.errors import ConfigError
from detinv.layouts.layout import Layout
from detinv.results.io.files import write_png
from detinv.training.data import PhotographSource, SceneSource
from detinv.training.fit import CHECKPOINT, TrainingOptions, fit
from detinv.training.module import MADE_FROM
from detinv.worlds.plain import PlainWorld
from detinv.zoo.models import build_fasterrcnn, build_maskrcnn, build_retinanet

SIZE = (64, 64)
CLASSES = len(PlainWorld.class_names)


def options(**changes):
    values = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "steps_per_epoch": 2, "precision": "32-true"}
    return TrainingOptions(**(values | {"accelerator": "cpu", "workers": 0} | changes))


def source():
    return SceneSource(PlainWorld(image_size=SIZE, seed=3, max_side=30))


def fresh(build: Callable):
    torch.manual_seed(0)
    return build(CLASSES, SIZE)


class Stopped(Exception):
    pass


class StoppingSource(SceneSource):
    """Breaks down when the scenes run out."""

    def __init__(self, world, last):
        super().__init__(world)
        self.last = last

    def sample(self, index):
        if index > self.last:
            raise Stopped
        return super().sample(index)


# Two-stage detectors draw the samples they learn from at random: their runs continue exactly only if that does.
@pytest.mark.parametrize("build", [pytest.param(build_retinanet, marks=pytest.mark.slow), build_fasterrcnn])
def test_a_continued_run_equals_an_uninterrupted_one(build, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    expected = fresh(build)
    assert fit(expected, source(), options(), whole, progress=False) == 0

    first = fresh(build)
    with pytest.raises(Stopped):
        fit(first, StoppingSource(source().world, last=4), options(), broken, progress=False)
    # Whatever happens between the two runs must not matter.
    torch.manual_seed(99)
    second = build(CLASSES, SIZE)
    assert fit(second, source(), options(), broken, progress=False) == 2

    initial = fresh(build).state_dict()
    moved = [name for name, value in expected.state_dict().items() if not torch.equal(value, initial[name])]
    assert moved
    for name, value in expected.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_a_finished_run_is_not_trained_again(tmp_path):
    model = fresh(build_retinanet)
    fit(model, source(), options(steps=2), tmp_path, progress=False)
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    again = build_retinanet(CLASSES, SIZE)
    assert fit(again, source(), options(steps=2), tmp_path, progress=False) == 2
    assert all(torch.equal(again.state_dict()[name], value) for name, value in trained.items())


def test_masks_are_learnt_where_the_model_has_them(tmp_path):
    model = fresh(build_maskrcnn)
    before = {name: value.clone() for name, value in model.roi_heads.mask_head.state_dict().items()}
    fit(model, source(), options(steps=1), tmp_path, progress=False)
    assert any(not torch.equal(value, before[name]) for name, value in model.roi_heads.mask_head.state_dict().items())


def test_losses_are_kept_of_every_part_of_a_run(tmp_path):
    fit(fresh(build_retinanet), source(), options(steps=2, steps_per_epoch=50), tmp_path, progress=True)
    assert (tmp_path / CHECKPOINT).is_file()
    assert (tmp_path / "losses" / "from_step_000000").is_dir()


def test_a_checkpoint_of_another_detector_is_named(tmp_path):
    fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False)
    with pytest.raises(ConfigError, match=r"last\.ckpt: belongs to another detector"):
        fit(fresh(build_fasterrcnn), source(), options(steps=1), tmp_path, progress=False)


def photographs(folder, seed=0, x=2.0):
    """A source of one photograph with one box."""
    path = folder / "a.png"
    if not path.exists():
        write_png(path, torch.full((3, 64, 64), 128, dtype=torch.uint8))
    layout = Layout(torch.tensor([[x, 2.0, 40.0, 40.0]]), torch.tensor([0]), SIZE, "a")
    return PhotographSource([layout], [path], PlainWorld.class_names, SIZE, seed=seed)


def test_scenes_of_another_world_are_not_learnt_on(tmp_path):
    fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False)
    for change in ({"seed": 4}, {"max_objects": 2}):
        other = SceneSource(PlainWorld(**({"image_size": SIZE, "seed": 3, "max_side": 30} | change)))
        with pytest.raises(ConfigError, match=r"last\.ckpt: belongs to another training: the data has changed since"):
            fit(fresh(build_retinanet), other, options(steps=1), tmp_path, progress=False)


def test_photographs_or_annotations_that_changed_are_not_learnt_on(tmp_path):
    out_dir = tmp_path / "run"
    out_dir.mkdir()
    fit(fresh(build_retinanet), photographs(tmp_path), options(steps=1), out_dir, progress=False)
    assert fit(fresh(build_retinanet), photographs(tmp_path), options(steps=1), out_dir, progress=False) == 1
    with pytest.raises(ConfigError, match="the data has changed since"):
        fit(fresh(build_retinanet), photographs(tmp_path, x=3.0), options(steps=1), out_dir, progress=False)
    write_png(tmp_path / "a.png", torch.full((3, 64, 64), 129, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="the data has changed since"):
        fit(fresh(build_retinanet), photographs(tmp_path), options(steps=1), out_dir, progress=False)


def test_a_run_is_continued_with_its_own_options(tmp_path):
    fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False)
    with pytest.raises(ConfigError, match=r"belongs to another training: learning_rate was 0\.001, is 0\.002; choose"):
        fit(fresh(build_retinanet), source(), options(steps=1, learning_rate=2e-3), tmp_path, progress=False)
    assert fit(fresh(build_retinanet), source(), options(steps=1, precision="32"), tmp_path, progress=False) == 1


def test_a_checkpoint_that_does_not_say_what_it_was_made_from_is_refused(tmp_path):
    fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del content[MADE_FROM]
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match=r"last\.ckpt: written by an earlier version of detinv"):
        fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_broken_checkpoint_is_named(content, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(ConfigError, match=r"last\.ckpt: cannot be read as a checkpoint"):
        fit(fresh(build_retinanet), source(), options(), tmp_path, progress=False)


@pytest.mark.parametrize("name", ["steps", "batch_size", "steps_per_epoch"])
def test_a_schedule_of_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name}=0: choose at least 1"):
        options(**{name: 0})


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ConfigError, match="workers=-1"):
        options(workers=-1)


def test_further_tasks_of_a_slurm_job_do_not_concern_it(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    assert fit(fresh(build_retinanet), source(), options(steps=1), tmp_path, progress=False) == 0
