"""Commands that do not resume: nothing is computed that could not be written, and nothing of an earlier call stays."""

from pathlib import Path

import pytest
import torch

from detinv.cli import main
from detinv.commands import bench, check, detect, diagnose
from detinv.results.io.files import write_png

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


@pytest.mark.parametrize(
    ("module", "computes", "words"),
    [
        (bench, "_reference", ["bench", "reference"]),
        (check, "check_adapter", ["check"]),
        (detect, "detections_overview", ["detect", *PHOTOGRAPHS]),
        (diagnose, "diagnose", ["diagnose", *PHOTOGRAPHS]),
    ],
)
def test_nothing_is_computed_for_a_folder_that_cannot_be_written(
    photographs, monkeypatch, capsys, module, computes, words
):
    Path("file").touch()

    def compute(*args, **options):
        pytest.fail("it computes")

    monkeypatch.setattr(module, computes, compute)
    monkeypatch.setitem(bench._BENCHMARKS, "reference", compute)
    assert main([*words, "out_dir=file/out"]) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err


def test_metrics_of_earlier_detections_do_not_stay_beside_new_ones(photographs):
    images, _, detector = PHOTOGRAPHS
    assert main(["detect", *PHOTOGRAPHS, "out_dir=out"]) == 0
    assert Path("out/metrics.json").is_file()
    assert main(["detect", images, detector, "out_dir=out"]) == 0
    assert Path("out/images.json").is_file() and not Path("out/metrics.json").exists()
    assert main(["detect", *PHOTOGRAPHS, "out_dir=out"]) == 0
    assert Path("out/metrics.json").is_file() and not Path("out/images.json").exists()
