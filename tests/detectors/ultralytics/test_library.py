"""How YOLO networks are built and loaded; what importing the library must not do."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import detinv
from detinv.detectors.load import load_detector
from detinv.detectors.ultralytics.library import architectures, build_network, load_network, require_ultralytics
from detinv.errors import ConfigError, DetectorError
from detinv.zoo.weights import weight_hash

NAMES = ["ant", "bee"]
needs_library = pytest.mark.usefixtures("library")


@pytest.fixture
def library():
    if find_spec("ultralytics") is None:
        pytest.skip("needs ultralytics: pip install 'detinv[yolo]'")
    require_ultralytics()


@pytest.fixture
def network(library):
    return build_network("yolov8n.yaml", 2)


@pytest.fixture
def checkpoint(network, tmp_path):
    """A file as the library's training writes it: a pickle of the whole network."""
    network.names = dict(enumerate(NAMES))
    network.args = {"task": "detect", "imgsz": 64}
    path = tmp_path / "best.pt"
    torch.save({"model": network.half(), "ema": None, "train_args": network.args}, path)
    return path


def in_new_process(code, **environment):
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert found.returncode == 0, found.stderr
    return found


IMPORT_CORE = """
import sys
import detinv.cli, detinv.commands.invert, detinv.detectors.load, detinv.detectors.ultralytics.yolo
assert not any(name.split(".")[0] == "ultralytics" for name in sys.modules)
"""


@pytest.mark.slow
def test_importing_detinv_does_not_import_the_library():
    in_new_process(IMPORT_CORE, PATH="")


def test_only_the_adapters_files_name_the_library_and_only_inside_functions():
    package = Path(detinv.__file__).parent
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text if "ultralytics" in text else "")
        importing = [node for node in ast.walk(tree) if "ultralytics" in imported(node)]
        assert not importing or path.parent.name == "ultralytics", path
        assert not [node for node in tree.body if node in importing], path


def imported(node):
    """Top-level names of the packages that an import statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


IMPORT_QUIETLY = """
import os, sys, torch
from pathlib import Path
from PIL import Image
save, image_open, environment = torch.save, Image.open, dict(os.environ)
from detinv.detectors.ultralytics.library import build_network
build_network("yolov10n.yaml", 2)
assert torch.save is save and Image.open is image_open
for name in ("YOLO_CONFIG_DIR", "YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_VERBOSE"):
    assert os.environ.get(name) == environment.get(name), name
from ultralytics.utils import AUTOINSTALL, ONLINE
assert not AUTOINSTALL and not ONLINE
"""


@needs_library
def test_the_library_is_imported_without_a_word_a_file_or_a_patch(tmp_path):
    found = in_new_process(IMPORT_QUIETLY, HOME=str(tmp_path), PATH="", YOLO_VERBOSE="true")
    assert (found.stdout, found.stderr) == ("", "")
    assert list(tmp_path.rglob("*")) == []


def test_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(DetectorError, match=r"^this detector needs .* pip install 'detinv\[yolo\]'$"):
        load_detector("yolov8n", "random", image_size=64)


@needs_library
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11s.yaml", "yolov10n.yaml", "yolo26n.yaml", "yolov8n-p2.yaml"])
def test_the_librarys_architectures_have_their_scales_in_their_names(name):
    assert name in architectures()


@needs_library
def test_architectures_without_a_plain_head_are_not_listed():
    assert not any("seg" in name or "pose" in name or "rtdetr" in name for name in architectures())


@needs_library
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolo8n.yaml", r"^model=yolo8n.yaml: .*did you mean 'yolov8n.yaml'"),
        ("yolov8n-seg.yaml", r"^model=yolov8n-seg.yaml: neither"),
        ("missing/yolov8n.yaml", "neither a file nor an architecture"),
        ("https://example.org/yolov8n.yaml", "neither a file nor an architecture"),
    ],
)
def test_unknown_architecture_is_named(model, message):
    with pytest.raises(DetectorError, match=message):
        build_network(model, 2)


@needs_library
def test_a_model_file_of_ones_own_is_built_and_its_head_looked_at(tmp_path):
    backbone = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]]
    path = tmp_path / "mine.yaml"
    path.write_text(f"nc: 7\nbackbone: {backbone}\nhead:\n  - [[2], 1, Detect, [nc]]\n")
    network = build_network(str(path), 2)
    assert network.model[-1].nc == 2
    assert network.model[-1].stride.tolist() == [8]
    path.write_text(f"nc: 7\nbackbone: {backbone}\nhead:\n  - [[2], 1, Segment, [nc, 32, 256]]\n")
    with pytest.raises(
        DetectorError, match=r"mine.yaml: ends in a head Segment; only networks that detect nothing but boxes"
    ):
        build_network(str(path), 2)


@needs_library
@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth"])
def test_a_state_dict_is_loaded_without_trust(network, tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(network.state_dict(), path)
    for trust in (False, True):
        loaded, names = load_network("yolov8n.yaml", str(path), NAMES, trust)
        assert names == tuple(NAMES)
        assert weight_hash(loaded) == weight_hash(network)


@needs_library
def test_a_state_dict_of_other_classes_or_another_architecture_is_refused(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    with pytest.raises(DetectorError, match=r"weights.safetensors: .*; the file has 2 classes, the detector has 80$"):
        load_network("yolov8n.yaml", str(path), None, False)
    with pytest.raises(DetectorError, match="these weights do not fit"):
        load_network("yolo11n.yaml", str(path), NAMES, False)


@needs_library
def test_a_pickled_network_needs_trust_and_the_error_says_why(checkpoint):
    with pytest.raises(DetectorError, match=r"best.pt: .*runs whatever code .*detector.trust_weights=true$"):
        load_network("yolov8n.yaml", str(checkpoint), None, False)


@needs_library
def test_a_trusted_checkpoint_brings_network_names_and_fp32(checkpoint, network):
    loaded, names = load_network("yolo11n.yaml", str(checkpoint), None, True)
    assert names == tuple(NAMES)
    assert weight_hash(loaded) == weight_hash(network.float())
    assert not loaded.is_fused()
    assert load_network("yolov8n.yaml", str(checkpoint), ["cat", "dog"], True)[1] == ("cat", "dog")


@needs_library
def test_a_checkpoint_with_other_classes_than_asked_for_is_refused(checkpoint):
    with pytest.raises(DetectorError, match=r"best.pt: detects 2 classes, but class_names has 80; leave class_names"):
        load_network("yolov8n.yaml", str(checkpoint), "coco", True)


@needs_library
def test_a_checkpoint_of_another_task_is_refused(network, checkpoint):
    network.model[-1].__class__ = type("Pose", (type(network.model[-1]),), {})
    sys.modules[__name__].Pose = network.model[-1].__class__
    network.model[-1].__class__.__module__ = __name__
    torch.save({"model": network}, checkpoint)
    with pytest.raises(DetectorError, match=r"best.pt: ends in a head Pose; only"):
        load_network("yolov8n.yaml", str(checkpoint), None, True)


@needs_library
@pytest.mark.parametrize("content", [{"model": SimpleNamespace(a=1)}, [1, SimpleNamespace()]])
def test_a_trusted_pickle_of_something_else_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(DetectorError, match=r"other.pt: cannot be read as a checkpoint of ultralytics \("):
        load_network("yolov8n.yaml", str(tmp_path / "other.pt"), None, True)


@needs_library
@pytest.mark.parametrize("trust", [False, True])
def test_a_broken_file_is_named(tmp_path, trust):
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DetectorError, match=r"broken.pt: cannot be read as"):
        load_network("yolov8n.yaml", str(tmp_path / "broken.pt"), None, trust)


@needs_library
def test_missing_weights_say_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DetectorError, match=r"^weights=yolov8n.pt: no such file; fetch .*ultralytics/assets/releases"):
        load_detector("yolov8n")


@needs_library
def test_an_option_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="image_sise"):
        load_detector("yolov8n", "random", image_sise=64)
