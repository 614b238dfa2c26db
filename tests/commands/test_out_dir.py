"""Commands that do not resume: nothing is computed that could not be written."""

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
    tmp_path: Path, monkeypatch, capsys, module, computes, words
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("layouts.json").write_text(LAYOUTS)
    Path("photos").mkdir()
    write_png("photos/a.png", torch.zeros(3, 64, 64, dtype=torch.uint8))

    def compute(*args, **options):
        pytest.fail("it computes")

    monkeypatch.setattr(module, computes, compute)
    monkeypatch.setitem(bench._BENCHMARKS, "reference", compute)
    assert main([*words, "out_dir=file/out"]) == 2
    assert "file is a file, not a folder" in capsys.readouterr().err
