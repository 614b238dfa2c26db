"""The setup of an experiment: what is finished is reused, bit for bit, as long as nothing it depends on has changed."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import detinv
from detinv.errors import ConfigError, DetectorError, OutputError
from detinv.experiments.common import setup
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion import job
from detinv.inversion.preset import load_preset
from detinv.inversion.regularisers.total_variation import TotalVariation
from detinv.results.io.images import read_image
from detinv.worlds.sources import WorldLayouts
from detinv.zoo.weights import bundled_weights, weight_hash
from tests.experiments.setups import CPU, classes_only, same, setup_of


def test_images_are_those_of_an_inversion_and_are_kept(tmp_path, calls):
    one = setup_of(tmp_path)
    layouts = one.layouts("retinanet")
    images = one.invert("a/b", "retinanet", layouts)
    plain = detinv.invert(one.detector("retinanet"), layouts, "default", steps=2, trainer=CPU, progress=False)
    assert same(images, plain.images)
    assert calls == [[layouts[0].id, layouts[1].id], [layouts[2].id]]
    folder = tmp_path / "images" / "a" / "b"
    assert {path.name for path in folder.iterdir()} == {f"{layout.id}.png" for layout in layouts}
    assert same(images, [read_image(folder / f"{layout.id}.png") for layout in layouts])


def test_an_image_that_was_stopped_early_is_told(tmp_path):
    messages = []
    endless = replace(load_preset(), regularisers={"total_variation": TotalVariation(1e300)})
    one = setup_of(tmp_path, log=messages.append, preset=endless)
    layouts = one.layouts("retinanet")[:1]
    one.invert("a", "retinanet", layouts)
    (told,) = (message for message in messages if "stopped early" in message)
    assert layouts[0].id in told and "not finite" in told


def test_what_is_finished_is_only_read(tmp_path, painted):
    first = setup_of(tmp_path)
    images = first.invert("a", "retinanet", first.layouts("retinanet"))
    del painted[:]
    messages = []
    again = setup_of(tmp_path, log=messages.append)
    assert same(again.invert("a", "retinanet", again.layouts("retinanet")), images)
    assert painted == messages == []


# That only the lost image's batch is made, test_run.py sees as well.
@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_image_comes_back_with_its_batch_and_nothing_else_is_made(tmp_path, calls, lost):
    first = setup_of(tmp_path)
    layouts = first.layouts("retinanet")
    images = first.invert("a", "retinanet", layouts)
    first.invert("b", "retinanet", layouts[:1])
    batch = next(ids for ids in calls if layouts[lost].id in ids)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "images" / "a" / f"{layouts[lost].id}.png").unlink()
    del calls[:]

    again = setup_of(tmp_path)
    assert same(again.invert("a", "retinanet", layouts), images)
    again.invert("b", "retinanet", layouts[:1])
    assert calls == [batch]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_an_interrupted_batch_is_continued(tmp_path, monkeypatch):
    """Stopped after its second step, the batch takes the other two, and ends at the same bits."""
    whole = setup_of(tmp_path / "whole", steps=4)
    layouts = whole.layouts("retinanet")[:2]
    expected = whole.invert("a", "retinanet", layouts)
    taken = []

    class Killed(BaseException):
        """Nothing catches it."""

    def counted(self, trainer, module, step, after_step=job.Checkpoints.after_step):
        after_step(self, trainer, module, step)
        # A checkpoint may only cost a hundredth of the time; here every step counts.
        self._cost = 0.0
        taken.append(step)
        if len(taken) == 2:
            raise Killed

    monkeypatch.setattr(job.Checkpoints, "after_step", counted)
    monkeypatch.setattr(setup, "invert", partial(detinv.invert, checkpoint_every_n_seconds=0.0))
    with pytest.raises(Killed):
        setup_of(tmp_path / "cut", steps=4).invert("a", "retinanet", layouts)
    assert list((tmp_path / "cut" / "unfinished").rglob("*.ckpt"))
    assert same(setup_of(tmp_path / "cut", steps=4).invert("a", "retinanet", layouts), expected)
    assert len(taken) == 4
    assert not (tmp_path / "cut" / "unfinished").exists()


@pytest.mark.slow
def test_a_batch_interrupted_with_another_preset_is_begun_anew(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        detinv.invert(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setup, "invert", interrupted)
        first = setup_of(tmp_path)
        layouts = first.layouts("retinanet")[:1]
        with pytest.raises(KeyboardInterrupt):
            first.invert("a", "retinanet", layouts)
    assert list((tmp_path / "unfinished" / "a").iterdir())
    other = setup_of(tmp_path, preset=classes_only(load_preset()))
    fresh = setup_of(tmp_path / "fresh", preset=classes_only(load_preset()))
    assert same(other.invert("a", "retinanet", layouts), fresh.invert("a", "retinanet", layouts))
    assert not (tmp_path / "unfinished").exists()


def test_an_image_that_memory_does_not_suffice_for_is_named(tmp_path, monkeypatch):
    def cramped(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(job, "fit_batch", cramped)
    one = setup_of(tmp_path)
    with pytest.raises(OutputError, match="memory does not suffice"):
        one.invert("a", "retinanet", one.layouts("retinanet"))


def test_progress_is_logged(tmp_path, painted):
    messages = []
    one = setup_of(tmp_path, log=messages.append)
    one.invert("a", "retinanet", one.layouts("retinanet"))
    one.invert("a", "retinanet", one.layouts("retinanet"))
    assert messages == [f"a: inverting retinanet, batch {number} of 2" for number in (1, 2)]


def test_steps_and_preset_may_differ_by_key(tmp_path):
    one = setup_of(tmp_path)
    layouts = one.layouts("retinanet")[:1]
    start = one.invert("start", "retinanet", layouts, steps=0)
    plain = detinv.invert(one.detector("retinanet"), layouts, "default", steps=0, trainer=CPU, progress=False)
    assert same(start, plain.images)
    whole = one.invert("whole", "retinanet", layouts)
    part = one.invert("part", "retinanet", layouts, classes_only(load_preset()))
    assert not same(whole, part) and not same(whole, start)


def test_joint_images_are_those_of_a_joint_inversion(tmp_path, calls):
    one = setup_of(tmp_path, ("retinanet", "fcos"))
    layouts = one.layouts("retinanet")[:1]
    images = one.invert_jointly("joint", layouts)
    detectors = [one.detector("retinanet"), one.detector("fcos")]
    assert same(images, detinv.invert(detectors, layouts, "default", steps=2, trainer=CPU, progress=False).images)
    del calls[:]
    assert same(setup_of(tmp_path, ("retinanet", "fcos")).invert_jointly("joint", layouts), images)
    assert calls == []


def with_entries(out_dir: Path, entries) -> ExperimentSetup:
    return ExperimentSetup(out_dir, entries, WorldLayouts(), load_preset(), trainer=CPU)


def test_labels_are_names_stems_of_paths_or_given(tmp_path):
    entries = ["shapes_fcos", "some/mine.yaml", {"name": "shapes_fcos", "label": "again"}, {"name": "x/y.yml"}]
    assert with_entries(tmp_path, entries).labels == (
        "shapes_fcos",
        "mine",
        "again",
        "y",
    )


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (["shapes_fcos", "shapes_fcos"], "two are called 'shapes_fcos'; give one of them a label"),
        (["a.yaml", {"name": "shapes_fcos", "label": "a"}], "two are called 'a'"),
        ([{"weights": "w"}], r"detectors: \{'weights': 'w'\} has no name; write \{name: NAME"),
        ([{"name": "shapes_fcos", "label": "my own"}], "'my own' cannot name a folder; give it a label of letters"),
        ([{"name": "shapes_fcos", "label": "../up"}], "'../up' cannot name a folder"),
        (["my detector.yaml"], "'my detector' cannot name a folder"),
    ],
)
def test_labels_that_cannot_be(tmp_path, entries, problem):
    with pytest.raises(ConfigError, match=problem):
        _ = with_entries(tmp_path, entries).labels


def test_detectors_are_loaded_once_with_their_options(tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes(bundled_weights("shapes_fcos").read_bytes())
    one = with_entries(tmp_path, ["shapes_retinanet", {"name": "shapes_fcos", "weights": str(path), "label": "mine"}])
    assert one.detector("mine") is one.detector("mine")
    assert weight_hash(one.detector("mine")) == weight_hash(detinv.load_detector("shapes_fcos"))
    assert one.weight_hashes() == {"mine": weight_hash(one.detector("mine"))}
    # A judge from elsewhere.
    assert one.detector("shapes_fasterrcnn").class_names == one.detector("shapes_retinanet").class_names
    assert set(one.weight_hashes()) == {"mine", "shapes_fasterrcnn", "shapes_retinanet"}
    with pytest.raises(DetectorError, match="no detector is called 'shapes_fco'; did you mean 'shapes_fcos'?"):
        one.detector("shapes_fco")
    with pytest.raises(DetectorError, match=r"nowhere\.safetensors: no such weights file"):
        with_entries(tmp_path, [{"name": "shapes_fcos", "weights": "nowhere.safetensors"}]).detector("shapes_fcos")


def bundled(out_dir: Path, **options) -> ExperimentSetup:
    return ExperimentSetup(out_dir, ["shapes_retinanet"], options.pop("source"), load_preset(), trainer=CPU, **options)


def test_layouts_are_the_detector_s_with_or_without_masks(tmp_path):
    one = bundled(tmp_path, source=WorldLayouts("plain", count=2, image_size=(64, 96)))
    detector = one.detector("shapes_retinanet")
    for layout, scene in zip(one.layouts("shapes_retinanet"), one.source.scenes(), strict=True):
        assert layout.image_size == detector.network_size((64, 96)) and layout.masks is not None
        assert torch.equal(layout.labels, scene.layout.labels)
    assert all(layout.masks is None for layout in one.layouts("shapes_retinanet", masks=False))


def test_photographs_of_a_world_are_its_scenes(tmp_path):
    one = bundled(tmp_path, source=WorldLayouts("plain", count=2, image_size=(64, 96)))
    assert one.has_photographs
    images, layouts = one.photographs("shapes_retinanet")
    for image, layout, scene in zip(images, layouts, one.source.scenes(), strict=True):
        assert torch.equal(image, scene.image)
        assert layout.image_size == (64, 96) and torch.equal(layout.boxes, scene.layout.boxes)


def test_photographs_of_layouts_that_have_none(tmp_path):
    one = setup_of(tmp_path)
    assert not one.has_photographs
    with pytest.raises(ConfigError, match="give their folder as images=DIR"):
        one.photographs("retinanet")
