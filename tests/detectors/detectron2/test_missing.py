"""Without Detectron2: one line that says how people get it."""

import sys

import pytest

from detinv.cli import main
from detinv.config.folders import choices, config_dir
from detinv.detectors.load import load_detector
from detinv.errors import DetectorError

NAMES = [name for name in choices(config_dir(), "detector") if name.startswith("d2_")]


@pytest.fixture
def without_detectron2(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)


@pytest.mark.parametrize("name", NAMES)
def test_the_error_names_the_install_guide(without_detectron2, name):
    with pytest.raises(DetectorError, match=r"needs Detectron2.*detectron2\.readthedocs\.io.*install\.html") as found:
        load_detector(name, "random")
    assert len(str(found.value).splitlines()) == 1


def test_the_command_line_says_it_in_one_line(without_detectron2, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "step", "detector=d2_fcos_r50_fpn", "detector.weights=random"]) == 2
    error = capsys.readouterr().err.strip()
    assert "detectron2.readthedocs.io" in error
    assert len(error.splitlines()) == 1


def test_four_models_are_registered():
    assert NAMES == ["d2_fasterrcnn_r50_fpn", "d2_fcos_r50_fpn", "d2_maskrcnn_r50_fpn", "d2_retinanet_r50_fpn"]
