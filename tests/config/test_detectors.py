"""Detectors from elsewhere: a YAML file by its path, an entry point of a package, several at once."""

from importlib.metadata import EntryPoint

import pytest

from detinv.config import detectors as registry
from detinv.config.composition.compose import compose_config
from detinv.config.detectors import detector_names, detector_node, joint_node
from detinv.detectors.load import build_detector, load_detector
from detinv.errors import ConfigError, DetectorError, DetinvError
from detinv.zoo.weights import weight_hash

MODULE = '''
from detinv.detectors.load import load_detector

def build(weights="shapes_fcos", flavour="plain"):
    """A detector of one's own; like many, it takes no name."""
    return load_detector(weights)

def build_nothing():
    return "not a detector"
'''


@pytest.fixture
def folder(tmp_path):
    """A project of one's own: a YAML file with its module beside it."""
    (tmp_path / "own_module_of_the_test.py").write_text(MODULE)
    (tmp_path / "mine.yaml").write_text("_target_: own_module_of_the_test.build\nflavour: plain  # of it\n")
    return tmp_path


@pytest.fixture
def entry_point(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    point = EntryPoint("theirs", "own_module_of_the_test:build", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


def test_a_file_by_its_path_is_a_detector(folder):
    detector = load_detector(str(folder / "mine.yaml"))
    assert weight_hash(detector) == weight_hash(load_detector("shapes_fcos"))
    assert detector_node(str(folder / "mine.yaml"))["name"] == "mine"


def test_options_of_a_file_can_be_set_on_the_command_line(folder):
    config = compose_config("invert", [f"detector={folder / 'mine.yaml'}", "detector.flavour=sweet"])
    assert (config.detector.name, config.detector.flavour) == ("mine", "sweet")
    build_detector(config.detector)
    with pytest.raises(ConfigError, match=r"no option 'detector.flavor'"):
        compose_config("invert", [f"detector={folder / 'mine.yaml'}", "detector.flavor=sweet"])


def test_an_entry_point_is_a_detector_whose_parameters_are_options(entry_point):
    assert "theirs" in detector_names()
    assert detector_node("theirs") == {
        "_target_": "own_module_of_the_test.build",
        "name": "theirs",
        "weights": "shapes_fcos",
        "flavour": "plain",
    }
    config = compose_config("detect", ["detector=theirs", "detector.weights=shapes_retinanet", "images=x"])
    assert weight_hash(build_detector(config.detector)) == weight_hash(load_detector("shapes_retinanet"))


def test_an_entry_point_that_cannot_be_imported_is_named(monkeypatch):
    point = EntryPoint("theirs", "no_such_module:build", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(DetectorError, match="'theirs': its entry point no_such_module:build cannot be imported"):
        load_detector("theirs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "describes no detector"),
        ("name: x\n", "describes no detector; it needs an entry _target_"),
        ("_target_: [unclosed\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_describes_no_detector_is_named(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(DetectorError, match=f"bad.yaml: {message}") as caught:
        load_detector(str(tmp_path / "bad.yaml"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_target_that_returns_something_else_are_named(folder):
    with pytest.raises(DetectorError, match="nowhere.yaml: no such file"):
        load_detector("nowhere.yaml")
    (folder / "none.yaml").write_text("_target_: own_module_of_the_test.build_nothing\n")
    with pytest.raises(DetectorError, match="build_nothing returned a str; it must return an AbstractDetector"):
        load_detector(str(folder / "none.yaml"))


OWN = """
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from tests.fakes import tiny_detector

def without(attribute):
    detector = tiny_detector("retinanet")
    delattr(detector, attribute)
    return detector

def with_value(attribute, value):
    detector = tiny_detector("retinanet")
    setattr(detector, attribute, value)
    return detector

def failing(value):
    raise ValueError(f"deep inside, {value}")
"""


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("own.without\nattribute: pixel_mean", "pixel_mean is missing; set it in __init__ to red, green and blue"),
        ("own.without\nattribute: size_divisor", "size_divisor is missing; set it in __init__"),
        ("own.without\nattribute: detections_per_image", "detections_per_image is missing; set it in __init__"),
        ("own.with_value\nattribute: size_divisor\nvalue: 16.0", "size_divisor is 16.0; set it to a whole number"),
        ("own.with_value\nattribute: class_names\nvalue: []", r"class_names is \[\]; set it to the names"),
        ("own.with_value\nattribute: class_names\nvalue: [1, 2]", r"class_names is \[1, 2\]; set it to the names"),
    ],
)
def test_an_attribute_that_an_adapter_did_not_set_is_named(tmp_path, entries, message):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text(f"_target_: {entries}\n")
    with pytest.raises(DetectorError, match=f"TorchvisionRetinaNet: {message}"):
        load_detector(str(tmp_path / "mine.yaml"))


def test_an_error_in_ones_own_code_is_shown_where_it_happened(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text("_target_: own.failing\nvalue: 3\n")
    with pytest.raises(Exception, match="deep inside, 3") as caught:
        load_detector(str(tmp_path / "mine.yaml"))
    assert not isinstance(caught.value, DetinvError)
    # A call that does not fit is a mistake in the file.
    (tmp_path / "mine.yaml").write_text("_target_: own.failing\n")
    with pytest.raises(ConfigError, match="missing 1 required positional argument: 'value'"):
        load_detector(str(tmp_path / "mine.yaml"))


def test_several_at_once_are_one_choice(folder):
    config = compose_config(
        "invert", [f"detector=[shapes_fcos,{folder / 'mine.yaml'}]", "detector.shares.mine=2", "detector.balance=none"]
    )
    assert config.detector.name == "shapes_fcos+mine"
    assert list(config.detector.members) == ["shapes_fcos", "mine"]
    assert config.detector.shares == {"shapes_fcos": 1.0, "mine": 2}
    with pytest.raises(DetectorError, match=r"shapes_fcos\+mine: several detectors at once are for detinv invert"):
        build_detector(config.detector)


def test_one_in_brackets_is_just_that_one():
    assert compose_config("invert", ["detector=[shapes_fcos]"]).detector.name == "shapes_fcos"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["shapes_fcos", "shapes_fcos"], "may be named once"),
        (["shapes_fcos", "shapes_retinane"], "did you mean 'shapes_retinanet'"),
    ],
)
def test_a_mistake_in_the_list_is_named(names, message):
    with pytest.raises(DetectorError, match=message):
        joint_node(names)
