"""`detinv invert` with the detectors that others trained on COCO, on small inputs."""

import json

import pytest
import torch
import yaml

from detinv.cli import main
from detinv.detectors.acceleration.accelerate import TOLERANCE, accelerated
from detinv.detectors.canvas import on_canvas
from detinv.inversion.preset import load_preset
from detinv.inversion.run import invert
from detinv.layouts.sources import FileLayouts
from tests.coco_detectors import NAMES, small
from tests.fakes import block_image


def small_words(name, prefix="detector"):
    size = "128" if name == "yolox_nano" else "[128,128]"
    return f"{prefix}.options.image_size={size}"


@pytest.mark.parametrize(
    "name", [name if name == "fastestdet" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_the_name_alone_is_enough(name, tmp_path):
    words = ["steps=2", "trainer.accelerator=cpu", "logger=none", f"out_dir={tmp_path}"]
    assert main(["invert", f"detector={name}", small_words(name), *words]) == 0
    truth = json.loads((tmp_path / "layouts.json").read_text())
    names = {one["id"]: one["name"] for one in truth["categories"]}
    found = [names[one["category_id"]] for one in truth["annotations"]]
    assert found == ["zebra", "bird", "cat", "elephant"]
    assert {"cls", "reg"} <= set((tmp_path / "losses.csv").read_text().splitlines()[0].split(","))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["layout"]["path"] == "sample"


@pytest.mark.slow
def test_two_of_them_share_an_image(tmp_path):
    words = ["steps=2", "trainer.accelerator=cpu", "logger=none", "layout=sample:farm", f"out_dir={tmp_path}"]
    members = ["yolox_nano", "nanodet_m"]
    words += [small_words(name, f"detector.members.{name}") for name in members]
    assert main(["invert", f"detector=[{','.join(members)}]", *words]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["objects"] == 4
    assert {f"{name}/redetected" for name in members} <= set(metrics)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch(name):
    detector = small(name)
    layouts = [
        FileLayouts(f"sample:{sample}").layouts(detector.class_names, detector.network_size, 64)[0]
        for sample in ("farm", "beach")
    ]
    images = [
        invert(detector, layouts, load_preset(), steps=3, batch_size=size, trainer={"accelerator": "cpu"}).images
        for size in (1, 2)
    ]
    for alone, together in zip(*images, strict=True):
        assert torch.equal(alone, together)


@pytest.mark.parametrize("name", NAMES)
def test_steps_run_on_a_faster_copy(name):
    detector = small(name)
    copy = accelerated(detector)
    assert copy is not detector
    pixels = on_canvas(detector, [block_image((128, 128), 3)])
    for one, other in zip(copy(pixels).outputs(), detector(pixels).outputs(), strict=True):
        assert (one - other).square().mean().sqrt() <= TOLERANCE * other.std()
