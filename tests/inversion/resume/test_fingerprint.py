"""An inversion is resumed only with the same detector, layouts and settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration.full_precision import tf32
from detinv.detectors.base import AbstractDetector
from detinv.errors import OutputError
from detinv.inputs.fingerprint import settings_hash
from detinv.inversion.modules.ensemble import Ensemble
from detinv.inversion.modules.network import Network
from detinv.inversion.preset import load_preset
from detinv.inversion.resume import fingerprint
from detinv.inversion.resume.fingerprint import detector_hash, layout_hash, packages_of
from detinv.inversion.run import invert
from detinv.layouts.layout import Layout
from tests.fakes import FAMILIES, block_image, tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS
from tests.pretended_device import DEVICE, PretendedDevice

OPTIONS = {"steps": 0, "trainer": {"accelerator": "cpu"}, "progress": False}


def layout(name: str, x: float = 1.0) -> Layout:
    return Layout(torch.tensor([[x, 1.0, 9.0, 9.0]]), torch.tensor([0]), (16, 16), name)


def lower_threshold(detector: AbstractDetector) -> None:
    detector.model.score_thresh = 0.01


def shift_mean(detector: AbstractDetector) -> None:
    detector.pixel_mean += 0.1


def box_weights(detector: AbstractDetector) -> None:
    detector.model.box_coder.weights = (2.0, 2.0, 1.0, 1.0)


CHANGES = [lower_threshold, shift_mean, box_weights]


@pytest.mark.parametrize("change", CHANGES)
def test_every_option_of_a_detector_counts(change: Callable):
    one, other = tiny_detector("retinanet"), tiny_detector("retinanet")
    assert detector_hash(one) == detector_hash(other)
    change(other)
    assert detector_hash(one) != detector_hash(other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trained_on_photographs", False),
        ("colour_covariance", ((1.0, 0, 0), (0, 1, 0), (0, 0, 1))),
        ("contrast", 0.1),
    ],
)
def test_what_a_class_says_of_its_training_counts(name, value, monkeypatch):
    detector = tiny_detector("retinanet")
    before = detector_hash(detector)
    monkeypatch.setattr(type(detector), name, value)
    assert detector_hash(detector) != before


@pytest.mark.parametrize("family", [*FAMILIES, "ssd"])
def test_running_a_detector_does_not_change_its_hash(family: str):
    detector = tiny_detector(family)
    before = detector_hash(detector)
    detector.detect([block_image((48, 64))])
    detector(torch.rand(1, 3, 64, 64))
    assert detector_hash(detector) == before


def test_images_of_other_options_are_not_resumed(tmp_path: Path):
    detector = tiny_detector("retinanet")
    invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    lower_threshold(detector)
    with pytest.raises(OutputError, match="holds images with detector options"):
        invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)


def test_images_of_other_class_names_are_not_resumed(tmp_path: Path):
    detector = tiny_detector("retinanet")
    invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    detector.class_names = tuple(f"other {name}" for name in detector.class_names)
    with pytest.raises(OutputError, match="holds images with classes .*, this run has other"):
        invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)


def test_images_of_other_packages_are_not_resumed(tmp_path: Path, monkeypatch):
    detector = tiny_detector("retinanet")
    invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    monkeypatch.setattr(fingerprint, "version", lambda name: "0.0.1")
    with pytest.raises(OutputError, match="holds images with packages .*, this run has .*torch 0.0.1"):
        invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)


def test_images_of_another_rounding_are_not_resumed(tmp_path: Path):
    detector = tiny_detector("retinanet")
    invert(detector, LAYOUTS[:1], folder=tmp_path, allow_tf32=True, **OPTIONS)
    refused = "holds images with float32 products cuda.matmul tf32, .*, this run has cuda.matmul ieee, "
    with pytest.raises(OutputError, match=refused):
        invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    # By torch's own settings as well.
    with tf32(True):
        invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)


def test_full_precision_said_or_not_is_the_same(tmp_path: Path):
    detector, products = tiny_detector("retinanet"), torch.backends.mkldnn.matmul
    before = products.fp32_precision
    try:
        for precision in ("none", "ieee"):
            products.fp32_precision = precision
            invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
        products.fp32_precision = "bf16"
        with pytest.raises(OutputError, match="mkldnn.matmul bf16"):
            invert(detector, LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    finally:
        products.fp32_precision = before


def test_the_package_of_a_detector_counts():
    class Elsewhere(nn.Module):
        __module__ = "rich.of_tests"

    detector = tiny_detector("retinanet")
    before = packages_of([detector])
    assert "torchvision " in before and "rich " not in before
    detector.part = Elsewhere()
    assert "rich " in packages_of([detector])


@pytest.mark.parametrize("options", [{"shares": {"b": 2.0}}, {"balance": "none"}])
def test_images_of_another_balance_of_detectors_are_not_resumed(options: dict, tmp_path: Path):
    members = {"a": tiny_detector("retinanet"), "b": tiny_detector("fcos")}
    invert(Ensemble(members), LAYOUTS[:1], folder=tmp_path, **OPTIONS)
    with pytest.raises(OutputError, match="holds images with detector options"):
        invert(Ensemble(members, **options), LAYOUTS[:1], folder=tmp_path, **OPTIONS)


def test_a_faster_copy_has_the_options_of_its_detector():
    detector = tiny_detector("retinanet")
    network = Network(detector)
    network.prepare()
    copy = network.runs
    Network(detector).prepare()
    network.prepare()
    assert network.runs is copy is not detector
    box_weights(detector)
    network.prepare()
    assert network.runs is not copy
    assert network.runs.model.box_coder.weights == detector.model.box_coder.weights


def test_hashes_tell_presets_and_layouts_apart():
    default, again, paper = load_preset("default"), load_preset("default"), load_preset("paper")
    assert settings_hash(default) == settings_hash(again) != settings_hash(paper)
    object.__setattr__(again, "objective", again.objective.reweighted({"cls": 31}))
    assert settings_hash(default) != settings_hash(again)
    assert layout_hash(layout("a")) == layout_hash(layout("b")) != layout_hash(layout("a", 2.0))


def test_a_layout_on_another_device_has_the_same_hash():
    one = layout("a")
    with PretendedDevice():
        there = replace(one, boxes=one.boxes.to(DEVICE), labels=one.labels.to(DEVICE))
        assert layout_hash(there) == layout_hash(one)


def test_parts_of_one_name_in_two_modules_differ():
    """Two packages may call their parts alike."""
    here, there = (type("Part", (), {"__module__": module})() for module in ("one", "another"))
    assert settings_hash(here) != settings_hash(there)
