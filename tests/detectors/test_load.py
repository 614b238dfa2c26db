import pytest
import torch
from omegaconf import OmegaConf

from detinv.config.detectors import detector_names
from detinv.config.folders import config_dir
from detinv.config.instantiate import instantiate
from detinv.detectors import load
from detinv.detectors.base import AbstractDetector
from detinv.detectors.load import assemble_detector, load_detector
from detinv.errors import DetectorError
from detinv.worlds.plain import PlainWorld
from detinv.zoo.weights import save_weights, weight_hash

NAMES = (
    "bccd_fasterrcnn",
    "bccd_retinanet",
    *(
        f"{world}_{model}"
        for world in ("context", "part", "scale", "shape", "texture")
        for model in ("fasterrcnn", "retinanet")
    ),
    "shapes_fasterrcnn",
    "shapes_fcos",
    "shapes_maskrcnn",
    "shapes_retinanet",
)


def leaf(name):
    return OmegaConf.load(config_dir() / "detector" / f"{name}.yaml")


def test_the_names_are_the_interface():
    assert set(NAMES) <= set(detector_names())


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_configuration_builds_a_detector_from_weights(name, tmp_path):
    node = leaf(name)
    model = instantiate(node.model)
    save_weights(model, tmp_path / "w.safetensors", {"class_names": list(node.class_names)})
    detector = load_detector(name, tmp_path / "w.safetensors")
    assert isinstance(detector, AbstractDetector)
    assert detector.class_names == tuple(node.class_names)
    assert detector.has_masks == ("maskrcnn" in name)
    size = tuple(node.model.image_size)
    assert detector.network_size(size) == size
    assert node.name == name
    assert node.weights == "bundled"
    assert len(detector.detect([torch.zeros(3, *size, dtype=torch.uint8)])) <= detector.detections_per_image
    again = load_detector(name, str(tmp_path / "w.safetensors"))
    assert weight_hash(again) == weight_hash(detector)


@pytest.mark.parametrize("convert", ["none", "all"])
def test_hydra_builds_the_same_from_the_leaf(tmp_path, convert):
    from hydra.utils import instantiate as hydra_instantiate

    node = leaf("shapes_fcos")
    save_weights(instantiate(node.model), tmp_path / "w.safetensors", {})
    node.weights = str(tmp_path / "w.safetensors")
    built = hydra_instantiate(node, _convert_=convert)
    assert weight_hash(built) == weight_hash(load_detector("shapes_fcos", node.weights))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("shapes")])
def test_classes_of_the_shapes_are_the_worlds(name):
    assert tuple(leaf(name).class_names) == PlainWorld.class_names
    assert leaf(name).model.num_classes == len(PlainWorld.class_names)


def test_more_proposals_for_crowded_photographs(tmp_path):
    model = instantiate(leaf("bccd_fasterrcnn").model)
    assert model.rpn.eval().post_nms_top_n() == 150


@pytest.mark.parametrize(("name", "near"), [("shapes_retina", "shapes_retinanet"), ("fasterrcnn", "fasterrcnn")])
def test_an_unknown_name_suggests_the_nearest_and_lists_all(name, near):
    with pytest.raises(DetectorError, match=rf"no detector is called '{name}'; did you mean '\w*{near}'\?") as caught:
        load_detector(name)
    assert all(known in str(caught.value) for known in NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../detector/shapes_fcos", "qqqqqqq"])
def test_names_are_not_paths(name):
    with pytest.raises(DetectorError, match="no detector is called"):
        load_detector(name)


def test_bundled_weights_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "bundled_weights", lambda name: tmp_path / f"{name}.safetensors")
    with pytest.raises(
        DetectorError, match=r"shapes_fcos\.safetensors: .* `detinv train model=shapes_fcos` makes them"
    ):
        load_detector("shapes_fcos")


def test_given_weights_that_are_not_there(tmp_path):
    with pytest.raises(DetectorError, match=r"mine\.safetensors: no such weights file"):
        load_detector("shapes_fcos", tmp_path / "mine.safetensors")


def test_weights_of_another_detector(tmp_path):
    save_weights(instantiate(leaf("shapes_retinanet").model), tmp_path / "w.safetensors", {})
    with pytest.raises(DetectorError, match="do not fit the detector"):
        load_detector("shapes_fcos", tmp_path / "w.safetensors")


def test_weights_trained_on_other_classes(tmp_path):
    node = leaf("shapes_fcos")
    names = list(reversed(node.class_names))
    save_weights(instantiate(node.model), tmp_path / "w.safetensors", {"class_names": names})
    with pytest.raises(DetectorError, match="trained on the classes ring, .* but shapes_fcos has circle, "):
        load_detector("shapes_fcos", tmp_path / "w.safetensors")


def test_assemble_takes_plain_values(tmp_path):
    model = {"_target_": "detinv.zoo.models.build_fcos", "num_classes": 2, "image_size": [64, 64]}
    save_weights(instantiate(model), tmp_path / "w.safetensors", {})
    adapter = "detinv.detectors.torchvision.fcos.TorchvisionFCOS"
    detector = assemble_detector("mine", adapter, model, ["a", "b"], str(tmp_path / "w.safetensors"))
    assert detector.class_names == ("a", "b")
