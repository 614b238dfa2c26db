"""What is learnt from and what is measured on: different images, and clear words when they are not there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detinv.errors import ConfigError, LayoutError
from detinv.training.datasets import blood_cells, world_scenes
from detinv.worlds.registry import WORLDS

BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd"


def bccd_like(root, size=(48, 64)):
    """Two annotation files with one photograph each."""
    (root / "images").mkdir()
    for number, name in enumerate(("train", "val")):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        content = {
            "images": [{"id": 7, "file_name": f"{name}.png", "height": 48, "width": 64}],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 3, "bbox": [4, 6, 20, 30], "area": 600, "iscrowd": 0}
            ],
            "categories": [{"id": 1, "name": "RBC"}, {"id": 2, "name": "WBC"}, {"id": 3, "name": "Platelets"}],
        }
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("world", WORLDS)
def test_scenes_are_measured_on_another_world_than_they_are_learnt_from(world):
    data = world_scenes(world, seed=1, evaluation_seed=9, evaluation_scenes=3, image_size=[80, 96])
    assert len(data.held_out) == 3
    image, layout = data.held_out[2]
    assert image.shape == (3, 80, 96)
    assert layout.masks is not None
    assert not torch.equal(image, data.source.sample(2)[0])
    assert "seed 9" in data.measured_on and f"`{world}`" in data.measured_on and "seed 1," in data.learnt_from
    assert data.source.class_names == WORLDS[world].class_names
    assert data.planted == WORLDS[world].planted_truth != ""
    assert f"{WORLDS[world].min_side:g} to {WORLDS[world].max_side:g} pixels" in data.limits


def test_the_same_world_twice_is_refused():
    with pytest.raises(ConfigError, match="both 4; unseen scenes need a seed of their own"):
        world_scenes("plain", seed=4, evaluation_seed=4)


def test_an_unknown_world_is_refused():
    with pytest.raises(ConfigError, match="unknown world 'textur'; did you mean 'texture'?"):
        world_scenes("textur", seed=4, evaluation_seed=5)


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(ConfigError, match="evaluation_scenes=0"):
        world_scenes("plain", seed=1, evaluation_seed=2, evaluation_scenes=0)


def test_photographs_are_measured_on_as_they_are(tmp_path):
    data = blood_cells(bccd_like(tmp_path), image_size=(24, 32))
    image, layout = data.held_out[0]
    with Image.open(tmp_path / "images" / "val.png") as photograph:
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(photograph))
    assert layout.boxes.tolist() == [[4, 6, 24, 36]]
    assert layout.labels.tolist() == [2]
    learnt, learnt_layout = data.source.sample(0)
    assert learnt.shape == (3, 24, 32)
    assert learnt_layout.id == "train"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root=.*nowhere: no such folder; give the one that holds train\.json"):
        blood_cells(tmp_path / "nowhere")


def test_a_missing_annotation_file_is_named(tmp_path):
    bccd_like(tmp_path)
    with pytest.raises(LayoutError, match=r"missing\.json"):
        blood_cells(tmp_path, validation="missing.json")


def test_a_missing_photograph_is_named(tmp_path):
    bccd_like(tmp_path)
    (tmp_path / "images" / "val.png").unlink()
    with pytest.raises(ConfigError, match=r"val\.json: its photograph .*val\.png does not exist"):
        blood_cells(tmp_path)


def test_a_photograph_of_another_size_is_named(tmp_path):
    bccd_like(tmp_path, size=(50, 64))
    with pytest.raises(LayoutError, match=r"train\.png should be of size \(48, 64\), but is of size \(50, 64\)"):
        blood_cells(tmp_path)


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD photographs are not there")
def test_bccd_has_its_205_and_87_photographs():
    data = blood_cells(BCCD, image_size=(48, 64))
    assert len(data.held_out) == 87
    assert data.source.class_names == ("RBC", "WBC", "Platelets")
    image, layout = data.held_out[0]
    assert image.shape == (3, 480, 640)
    assert layout.image_size == (480, 640)
    assert "205 photographs" in data.learnt_from
