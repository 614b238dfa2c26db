"""Commands that do not resume: nothing is computed that could not be written, and nothing of an earlier call stays."""

from pathlib import Path

import pytest
import torch

from detinv.cli import main
from detinv.commands import bench, check, detect, diagnose
from detinv.errors import OutputError
from detinv.results.io.files import write_png
from tests.results.io.holder import another_holds

PHOTOGRAPHS = ("images=photos", "annotations=layouts.json", "detector=shapes_fcos")
LAYOUTS = (
    '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}], "annotations": [], "categories": []}'
)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch):
    """An annotated photograph in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("layouts.json").write_text(LAYOUTS)
    Path("photos").mkdir()
    write_png("photos/a.png", torch.zeros(3, 64, 64, dtype=torch.uint8))


@pytest.fixture(
    params=[
        (bench, "_reference", ["bench", "reference"]),
        (check, "check_adapter", ["check"]),
        (detect, "detections_overview", ["detect", *PHOTOGRAPHS]),
        (diagnose, "diagnose", ["diagnose", *PHOTOGRAPHS]),
    ],
    ids=lambda param: param[2][0],
)
def refused(request, photographs, monkeypatch) -> list[str]:
    """The words of a command that must not compute."""

    def compute(*args, **options):
        pytest.fail("it computes")

    module, computes, words = request.param
    monkeypatch.setattr(module, computes, compute)
    monkeypatch.setitem(bench._BENCHMARKS, "reference", compute)
    return words


def test_nothing_is_computed_for_a_folder_that_cannot_be_written(refused, capsys):
    Path("file").touch()
    assert main([*refused, "out_dir=file/out"]) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_nothing_is_computed_for_a_folder_in_which_another_process_writes(refused, capsys):
    Path("out").mkdir()
    with another_holds(Path("out")):
        assert main([*refused, "out_dir=out"]) == 2
    assert "out_dir out is in use by process 7" in capsys.readouterr().err


def test_what_was_measured_is_told_although_it_cannot_be_written(photographs, monkeypatch, capsys):
    assert main(["detect", *PHOTOGRAPHS, "score_thresh=0.4", "out_dir=out"]) == 0

    def full(path, value):
        raise OutputError(f"{path} cannot be written: no space left on device")

    monkeypatch.setattr(detect, "write_json", full)
    capsys.readouterr()
    assert main(["detect", *PHOTOGRAPHS, "score_thresh=0.5", "out_dir=out"]) == 2
    told = capsys.readouterr()
    assert "AP50" in told.out and "no space left" in told.err
    # Those of the other threshold would be taken for these.
    assert {path.name for path in Path("out").iterdir()} == {"config.yaml"}


def test_metrics_of_earlier_detections_do_not_stay_beside_new_ones(photographs):
    images, _, detector = PHOTOGRAPHS
    assert main(["detect", *PHOTOGRAPHS, "out_dir=out"]) == 0
    assert Path("out/metrics.json").is_file()
    assert main(["detect", images, detector, "out_dir=out"]) == 0
    assert Path("out/images.json").is_file() and not Path("out/metrics.json").exists()
    assert main(["detect", *PHOTOGRAPHS, "out_dir=out"]) == 0
    assert Path("out/metrics.json").is_file() and not Path("out/images.json").exists()
