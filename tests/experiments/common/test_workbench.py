"""The workbench: what is finished is found again, bit for bit, and nothing else is made a second time."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import detinv
from detinv.errors import ConfigError, DetectorError, OutputError
from detinv.experiments.common import workbench
from detinv.experiments.common.workbench import Workbench
from detinv.inversion import job
from detinv.inversion.preset import load_preset
from detinv.layouts.sources import CocoLayouts
from detinv.results.io.images import read_image
from detinv.worlds.sources import WorldLayouts
from detinv.zoo.weights import bundled_weights, weight_hash

CPU = {"accelerator": "cpu"}


def bench(out_dir: Path, entries=("shapes_retinanet",), **options) -> Workbench:
    options = {"steps": 2, "batch_size": 2, "trainer": CPU} | options
    source = options.pop("source", WorldLayouts("plain", count=3))
    return Workbench(out_dir, entries, source, load_preset(), **options)


@pytest.fixture
def calls(monkeypatch):
    """Layout ids of each call of `invert`."""
    made = []
    real = workbench.invert

    def counted(judge, layouts, *args, **kwargs):
        made.append([layout.id for layout in layouts])
        return real(judge, layouts, *args, **kwargs)

    monkeypatch.setattr(workbench, "invert", counted)
    return made


def same(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_images_are_those_of_an_inversion_and_are_kept(tmp_path, calls):
    one = bench(tmp_path)
    layouts = one.layouts("shapes_retinanet", masks=False)
    images = one.invert("a/b", "shapes_retinanet", layouts)
    plain = detinv.invert("shapes_retinanet", layouts, steps=2, trainer=CPU, progress=False)
    assert same(images, plain.images)
    assert calls == [[layouts[0].id, layouts[1].id], [layouts[2].id]]
    assert {path.name for path in (tmp_path / "images" / "a" / "b").iterdir()} == {
        "source.json",
        *(f"{layout.id}.png" for layout in layouts),
    }
    assert same(images, [read_image(tmp_path / "images" / "a" / "b" / f"{layout.id}.png") for layout in layouts])


def test_a_finished_key_is_only_read(tmp_path, calls):
    first = bench(tmp_path)
    images = first.invert("a", "shapes_retinanet", first.layouts("shapes_retinanet"))
    del calls[:]
    again = bench(tmp_path)
    assert same(again.invert("a", "shapes_retinanet", again.layouts("shapes_retinanet")), images)
    assert calls == []


@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_image_comes_back_with_its_batch_and_nothing_else_is_made(tmp_path, calls, lost):
    first = bench(tmp_path)
    layouts = first.layouts("shapes_retinanet")
    images = first.invert("a", "shapes_retinanet", layouts)
    first.invert("b", "shapes_retinanet", layouts[:1])
    batch = next(ids for ids in calls if layouts[lost].id in ids)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "images" / "a" / f"{layouts[lost].id}.png").unlink()
    del calls[:]

    again = bench(tmp_path)
    assert same(again.invert("a", "shapes_retinanet", layouts), images)
    again.invert("b", "shapes_retinanet", layouts[:1])
    assert calls == [batch]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_an_interrupted_batch_is_gone_on_with(tmp_path, monkeypatch):
    """Stopped after its third step, the batch takes the other five, and ends at the same bits."""
    whole = bench(tmp_path / "whole", steps=8)
    layouts = whole.layouts("shapes_retinanet", masks=False)
    expected = whole.invert("a", "shapes_retinanet", layouts)
    taken = []

    class Killed(BaseException):
        """Nothing catches it."""

    def counted(self, trainer, module, step, after_step=job.Checkpoints.after_step):
        after_step(self, trainer, module, step)
        # A checkpoint may only cost a hundredth of the time; here every step counts.
        self._cost = 0.0
        taken.append(step)
        if len(taken) == 3:
            raise Killed

    monkeypatch.setattr(job.Checkpoints, "after_step", counted)
    monkeypatch.setattr(workbench, "invert", partial(detinv.invert, checkpoint_every_n_seconds=0.0))
    with pytest.raises(Killed):
        bench(tmp_path / "cut", steps=8).invert("a", "shapes_retinanet", layouts)
    assert list((tmp_path / "cut" / "unfinished").rglob("*.ckpt"))
    assert same(bench(tmp_path / "cut", steps=8).invert("a", "shapes_retinanet", layouts), expected)
    assert len(taken) == 2 * 8
    assert not (tmp_path / "cut" / "unfinished").exists()


def test_an_image_that_memory_does_not_suffice_for_is_named(tmp_path, monkeypatch):
    def cramped(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(job, "fit_batch", cramped)
    one = bench(tmp_path)
    with pytest.raises(OutputError, match="memory does not suffice"):
        one.invert("a", "shapes_retinanet", one.layouts("shapes_retinanet"))


def test_what_is_going_on_is_told(tmp_path):
    told = []
    one = bench(tmp_path, say=told.append)
    one.invert("a", "shapes_retinanet", one.layouts("shapes_retinanet"))
    one.invert("a", "shapes_retinanet", one.layouts("shapes_retinanet"))
    assert told == [f"a: inverting shapes_retinanet, batch {number} of 2" for number in (1, 2)]


@pytest.mark.parametrize(
    ("options", "label", "problem"),
    [
        ({"steps": 3}, "shapes_retinanet", "images with steps 2, this run has 3;"),
        ({"seed": 1}, "shapes_retinanet", "images with seed 0, this run has 1;"),
        ({}, "shapes_fcos", r"images with weight_hash \w+, this run has \w+;"),
    ],
)
def test_images_of_another_source_are_refused(tmp_path, options, label, problem):
    first = bench(tmp_path)
    first.invert("a", "shapes_retinanet", first.layouts("shapes_retinanet")[:1])
    other = bench(tmp_path, **options)
    with pytest.raises(OutputError, match=problem) as caught:
        other.invert("a", label, other.layouts(label)[:1])
    assert "images/a" in str(caught.value) and "\n" not in str(caught.value)
    # Another key is another folder.
    assert len(other.invert("b", label, other.layouts(label)[:1])) == 1


def test_steps_and_preset_may_differ_by_key(tmp_path, calls):
    one = bench(tmp_path)
    layouts = one.layouts("shapes_retinanet")[:1]
    start = one.invert("start", "shapes_retinanet", layouts, steps=0)
    plain = detinv.invert("shapes_retinanet", layouts, steps=0, trainer=CPU, progress=False)
    assert same(start, plain.images)
    whole = one.invert("whole", "shapes_retinanet", layouts)
    preset = load_preset()
    part = one.invert("part", "shapes_retinanet", layouts, replace(preset, objective=preset.objective.only(["cls"])))
    assert not same(whole, part) and not same(whole, start)
    assert json.loads((tmp_path / "images" / "start" / "source.json").read_text())["steps"] == 0


@pytest.mark.parametrize("key", ["", "a b", "../a", "a/../b", "/a", "a/", "a//b", ".", ".hidden", "ä", "a\n"])
def test_keys_are_names_of_folders_inside(tmp_path, key):
    one = bench(tmp_path)
    with pytest.raises(ValueError, match="letters, digits"):
        one.keep(key, lambda: 1)
    with pytest.raises(ValueError, match="letters, digits"):
        one.invert(key, "shapes_retinanet", one.layouts("shapes_retinanet"))
    assert not list(tmp_path.rglob("*"))


def test_joint_images_are_read_by_all(tmp_path, calls):
    entries = ("shapes_retinanet", {"name": "shapes_fcos", "label": "other"})
    one = bench(tmp_path, entries)
    layouts = one.layouts("shapes_retinanet", masks=False)
    images = one.invert_jointly("joint", layouts)
    ensemble = [one.detector("shapes_retinanet"), one.detector("other")]
    assert same(images, detinv.invert(ensemble, layouts, steps=2, trainer=CPU, progress=False).images)
    hashes = json.loads((tmp_path / "images" / "joint" / "source.json").read_text())["weight_hash"].split(",")
    assert hashes == [weight_hash(detector) for detector in ensemble]
    del calls[:]
    assert same(bench(tmp_path, entries).invert_jointly("joint", layouts), images)
    assert calls == []
    with pytest.raises(OutputError, match="images with weight_hash"):
        bench(tmp_path, ("shapes_retinanet", "shapes_fasterrcnn")).invert_jointly("joint", layouts)


def test_parts_are_computed_once_and_plain(tmp_path):
    one, computed = bench(tmp_path), []

    def compute():
        computed.append(1)
        return {"n": np.int64(3), "missing": math.nan, 5: (1.5, torch.tensor([2, 3])), "text": "é"}

    expected = {"n": 3, "missing": None, "5": [1.5, [2, 3]], "text": "é"}
    assert one.keep("a/numbers", compute) == expected
    assert bench(tmp_path).keep("a/numbers", compute) == expected
    assert len(computed) == 1
    assert json.loads((tmp_path / "parts" / "a" / "numbers.json").read_text()) == expected
    assert one.keep("b", lambda: None) is None


def test_a_broken_part_is_named(tmp_path):
    one = bench(tmp_path)
    one.keep("a", lambda: 1)
    (tmp_path / "parts" / "a.json").write_text("{")
    with pytest.raises(OutputError, match=r"parts/a\.json cannot be read .*; remove it, and that part is made again"):
        one.keep("a", lambda: 1)


def test_labels_are_names_stems_of_paths_or_given(tmp_path):
    entries = ["shapes_fcos", "some/mine.yaml", {"name": "shapes_fcos", "label": "again"}, {"name": "x/y.yml"}]
    assert bench(tmp_path, entries).labels == ("shapes_fcos", "mine", "again", "y")


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
        _ = bench(tmp_path, entries).labels


def test_detectors_are_loaded_once_with_their_options(tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes(bundled_weights("shapes_fcos").read_bytes())
    one = bench(tmp_path, ["shapes_retinanet", {"name": "shapes_fcos", "weights": str(path), "label": "mine"}])
    assert one.detector("mine") is one.detector("mine")
    assert weight_hash(one.detector("mine")) == weight_hash(detinv.load_detector("shapes_fcos"))
    assert one.weight_hashes() == {"mine": weight_hash(one.detector("mine"))}
    # A judge from elsewhere.
    assert one.detector("shapes_fasterrcnn").class_names == one.detector("shapes_retinanet").class_names
    assert set(one.weight_hashes()) == {"mine", "shapes_fasterrcnn", "shapes_retinanet"}
    with pytest.raises(DetectorError, match="no detector is called 'shapes_fco'; did you mean 'shapes_fcos'?"):
        one.detector("shapes_fco")
    with pytest.raises(DetectorError, match=r"nowhere\.safetensors: no such file"):
        bench(tmp_path, [{"name": "shapes_fcos", "weights": "nowhere.safetensors"}]).detector("shapes_fcos")


def test_layouts_are_the_detector_s_with_or_without_masks(tmp_path):
    one = bench(tmp_path, source=WorldLayouts("plain", count=2, image_size=(64, 96)))
    detector = one.detector("shapes_retinanet")
    for layout, scene in zip(one.layouts("shapes_retinanet"), one.source.scenes(), strict=True):
        assert layout.image_size == detector.network_size((64, 96)) and layout.masks is not None
        assert torch.equal(layout.labels, scene.layout.labels)
    assert all(layout.masks is None for layout in one.layouts("shapes_retinanet", masks=False))


def test_photographs_of_a_world_are_its_scenes(tmp_path):
    one = bench(tmp_path, source=WorldLayouts("plain", count=2, image_size=(64, 96)))
    assert one.has_photographs
    images, layouts = one.photographs("shapes_retinanet")
    for image, layout, scene in zip(images, layouts, one.source.scenes(), strict=True):
        assert torch.equal(image, scene.image)
        assert layout.image_size == (64, 96) and torch.equal(layout.boxes, scene.layout.boxes)


@pytest.fixture
def coco(tmp_path):
    """Annotations and photographs of two images, one of them a JPEG."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 9, "name": "star"}]}
    for number, name in enumerate(("one.png", "two.jpg"), 1):
        pixels = np.full((48, 64, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(folder / name)
        content["images"].append({"id": number, "file_name": name, "height": 48, "width": 64})
        box = {"bbox": [4, 6, 20, 30], "area": 600, "iscrowd": 0, "category_id": 9}
        content["annotations"].append({"id": number, "image_id": number} | box)
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return CocoLayouts(tmp_path / "annotations.json")


def test_photographs_of_annotations_lie_in_a_folder(tmp_path, coco):
    one = bench(tmp_path, source=coco, images=tmp_path / "photographs")
    assert one.has_photographs
    images, layouts = one.photographs("shapes_retinanet")
    assert [layout.id for layout in layouts] == ["one", "two"]
    assert [layout.boxes.tolist() for layout in layouts] == [[[4, 6, 24, 36]]] * 2
    assert torch.equal(images[0], torch.full((3, 48, 64), 60, dtype=torch.uint8))
    assert (images[1].float() - 120).abs().max() <= 3
    # The layouts to invert are in the frame of the detector's input all the same.
    assert one.layouts("shapes_retinanet")[0].image_size != (48, 64)


def test_photographs_that_are_not_there(tmp_path, coco):
    nowhere = bench(tmp_path, source=coco)
    assert not nowhere.has_photographs
    with pytest.raises(ConfigError, match="give their folder as images=DIR"):
        nowhere.photographs("shapes_retinanet")
    folder = tmp_path / "photographs"
    (folder / "two.jpg").unlink()
    with pytest.raises(ConfigError, match=rf"images={folder}: no photograph of layout two \(two\.jpg\) there"):
        bench(tmp_path, source=coco, images=folder).photographs("shapes_retinanet")
    Image.new("RGB", (64, 50)).save(folder / "two.png")
    with pytest.raises(ConfigError, match=r"of two is of size \(50, 64\), its layout of size \(48, 64\)"):
        bench(tmp_path, source=coco, images=folder).photographs("shapes_retinanet")
