import csv
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from detinv.errors import OutputError
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.write_inversion import write_inversion

FILES = {"layouts.json", "detections.json", "metrics.json", "losses.csv", "config.yaml", "overview.png", "report.html"}


def test_write_inversion_leaves_everything(sample: Callable[..., InversionResult], tmp_path: Path) -> None:
    result = sample(3)
    out_dir = tmp_path / "deep" / "run"
    report = write_inversion(result, out_dir, "a run", "steps: 20\n")
    assert report == out_dir / "report.html"
    assert {entry.name for entry in out_dir.iterdir()} == FILES | {"images"}
    for layout, image in zip(result.layouts, result.images, strict=True):
        with Image.open(out_dir / "images" / f"{layout.id}.png") as file:
            assert np.array_equal(np.asarray(file), image.permute(1, 2, 0).numpy())
    assert (out_dir / "config.yaml").read_text() == "steps: 20\n"
    assert json.loads((out_dir / "metrics.json").read_text())["redetected"] == result.metrics["redetected"]
    with (out_dir / "losses.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(result.losses)


def test_nothing_of_a_larger_result_stays(sample: Callable[..., InversionResult], tmp_path: Path) -> None:
    larger, smaller = sample(3), sample(2)
    found = larger.member_detections
    joint = replace(
        larger, member_detections={f"{name} {number}": one for number in (1, 2) for name, one in found.items()}
    )
    write_inversion(joint, tmp_path, "t")
    (tmp_path / "images" / "mine.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    write_inversion(smaller, tmp_path, "t")
    listed = [entry["file_name"] for entry in json.loads((tmp_path / "layouts.json").read_text())["images"]]
    assert {path.name for path in (tmp_path / "images").iterdir()} == {*listed, "mine.png"}
    assert len(listed) == 2 and not list((tmp_path / "detections").iterdir())
    write_inversion(joint, tmp_path, "t")
    assert len(list((tmp_path / "images").iterdir())) == 4 and not (tmp_path / "detections.json").exists()
    assert (tmp_path / "notes.txt").is_file()


# pycocotools does not know numpy 2's way of asking for a copy yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_write_inversion_speaks_coco(sample: Callable[..., InversionResult], tmp_path: Path) -> None:
    result = sample(3)
    write_inversion(result, tmp_path, "t")
    truth = COCO(tmp_path / "layouts.json")
    found = truth.loadRes(str(tmp_path / "detections.json"))
    for number, layout in enumerate(result.layouts, 1):
        assert (tmp_path / "images" / truth.loadImgs(number)[0]["file_name"]).is_file()
        annotations = truth.loadAnns(truth.getAnnIds(number))
        assert layout.masks is not None
        assert np.array_equal(rle.decode(annotations[0]["segmentation"]), layout.masks[0].numpy())
        assert len(found.getAnnIds(number)) == len(layout)


def test_write_inversion_makes_ids_safe_and_unique(sample: Callable[..., InversionResult], tmp_path: Path) -> None:
    result = sample(3)
    ids = ["../a b", "../a/b", "A_B"]
    layouts = [replace(layout, id=name) for layout, name in zip(result.layouts, ids, strict=True)]
    write_inversion(replace(result, layouts=layouts), tmp_path / "run", "t")
    names = [entry["file_name"] for entry in json.loads((tmp_path / "run" / "layouts.json").read_text())["images"]]
    assert names == ["_a_b.png", "_a_b-2.png", "A_B.png"]
    assert sorted(entry.name for entry in (tmp_path / "run" / "images").iterdir()) == sorted(names)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("left", ["another image", "no image"])
def test_write_inversion_writes_no_image_twice_and_mends_a_wrong_one(
    sample: Callable[..., InversionResult], tmp_path: Path, left: str
) -> None:
    result = sample(3)
    write_inversion(result, tmp_path, "t")
    paths = sorted((tmp_path / "images").iterdir())
    before = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths[1].write_bytes(before[0] if left == "another image" else b"PNG")
    write_inversion(result, tmp_path, "t")
    assert [path.read_bytes() for path in paths] == before
    assert [path.stat().st_mtime_ns == stamp for path, stamp in zip(paths, stamps, strict=True)] == [True, False, True]


def test_write_inversion_into_a_file_changes_nothing(sample: Callable[..., InversionResult], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("kept")
    with pytest.raises(OutputError, match="run is a file, not a folder"):
        write_inversion(sample(1), tmp_path / "run", "t")
    assert (tmp_path / "run").read_text() == "kept"


def test_write_inversion_on_a_full_disk_leaves_whole_files_only(
    sample: Callable[..., InversionResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inversion(sample(1), tmp_path, "t", "old")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    real = os.replace

    def replace_until_full(source: Path, target: Path) -> None:
        if Path(target).name == "config.yaml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace_until_full)
    with pytest.raises(OutputError, match="config.yaml cannot be written: no space left"):
        write_inversion(sample(2), tmp_path, "t", "new")
    assert (tmp_path / "config.yaml").read_text() == "old"
    for name in ("report.html", "overview.png"):
        assert (tmp_path / name).read_bytes() == before[tmp_path / name]
    assert not (tmp_path / "metrics.json").exists(), "the layouts are new already, so the folder has not all of either"
    assert not list(tmp_path.rglob("*.tmp"))
