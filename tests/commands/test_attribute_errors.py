"""`detinv attribute errors=true`: what it writes and prints, how it resumes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detinv.cli import main
from detinv.commands import attribute_errors
from detinv.runtime.loggers import Dashboard
from detinv.worlds.part import PartWorld

# A threshold that some objects do not reach.
WORDS = ("scenes=3", "errors=true", "errors_drawn=2", "score_thresh=0.993", "methods=[odam]")


def run(out_dir: Path, *words: str) -> int:
    return main(["attribute", *WORDS, f"out_dir={out_dir}", *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out_dir = tmp_path_factory.mktemp("errors") / "out"
    assert run(out_dir) == 0
    return out_dir


def test_everything_is_written(written: Path):
    found = json.loads((written / "errors.json").read_text())
    counted, images = found["counts"], found["images"]
    kinds = [one["kind"] for image in images for one in image["objects"]]
    assert len(images) == 3
    assert {kind: kinds.count(kind) for kind in counted["objects"]} == counted["objects"]
    assert counted["objects"]["missed"] >= 2
    lost = [one for image in images for one in image["objects"] if one["kind"] != "found"]
    assert sum(counted["stages"].values()) == len(lost)
    for one in lost:
        if one["stage"] == "score too low":
            assert one["nearest"]["score"] <= one["limit"] == found["thresholds"]["score_thresh"]
            assert one["nearest"]["iou"] >= 0.5
    assert len(found["worst"]) >= 2
    for one in found["worst"]:
        with np.load(written / "maps" / f"{one['file']}.npz") as maps:
            assert all(list(maps[entry["map"]].shape) == entry["map_size"] for entry in one["attributions"])
        with Image.open(written / "pictures" / f"{one['file']}.png") as picture:
            assert picture.width > 500
    page = (written / "report.html").read_text()
    assert "What the detector got wrong" in page
    assert "Where objects were lost" in page
    assert found["worst"][0]["error"] in page


def test_what_is_finished_is_not_made_again(written: Path, monkeypatch, capsys):
    before = (written / "errors.json").read_text()
    monkeypatch.setattr(attribute_errors, "explain_case", lambda *args, **options: pytest.fail("it is finished"))
    assert run(written) == 0
    assert (written / "errors.json").read_text() == before
    printed = capsys.readouterr().out
    assert "What became of the annotated objects" in printed
    assert "score too low" in printed


def test_it_needs_annotations_and_one_method(tmp_path: Path, capsys):
    scene = PartWorld(seed=9).scene(0)
    (tmp_path / "images").mkdir()
    Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / "a.png")
    for words, said in (
        ((f"images={tmp_path / 'images'}",), "annotations=FILE"),
        (("methods=[odam,default]",), "takes one, got 2"),
        (("bg_iou_thresh=0.7",), "bg_iou_thresh=0.7"),
        (("errors_drawn=0",), "errors_drawn=0"),
    ):
        assert run(tmp_path / "out", *words) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_detections_of_a_file_are_not_judged(tmp_path: Path, capsys):
    scene = PartWorld(seed=9).scene(0)
    (tmp_path / "images").mkdir()
    Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / "a.png")
    categories = [{"id": number, "name": name} for number, name in enumerate(PartWorld(seed=9).class_names)]
    images = [{"id": 0, "file_name": "a.png", "width": 128, "height": 128}]
    truth = {"images": images, "annotations": [], "categories": categories}
    found = [{"image_id": 0, "category_id": 0, "bbox": [3.0, 3.0, 40.0, 50.0], "score": 1.0}]
    (tmp_path / "a.json").write_text(json.dumps(truth))
    (tmp_path / "d.json").write_text(json.dumps(found))
    words = [f"images={tmp_path / 'images'}", f"annotations={tmp_path / 'a.json'}", f"detections={tmp_path / 'd.json'}"]
    assert run(tmp_path / "out", *words) == 2
    assert "leave out detections=FILE" in capsys.readouterr().err


def test_numbers_and_pictures_are_logged_once(written: Path, monkeypatch):
    logged, shown = [], []
    monkeypatch.setattr(Dashboard, "log", lambda self, values, step=None: logged.append(values))
    monkeypatch.setattr(Dashboard, "show", lambda self, name, picture, step=None: shown.append(name))
    assert run(written) == 0
    found = json.loads((written / "errors.json").read_text())
    (numbers,) = logged
    assert numbers["errors/objects/missed"] == found["counts"]["objects"]["missed"]
    assert numbers["errors/stages/score too low"] == found["counts"]["stages"]["score too low"]
    assert shown == [f"errors/{one['file']}" for one in found["worst"]]


@pytest.mark.slow
def test_two_processes_judge_every_image_once_and_log_to_wandb(written: Path, tmp_path: Path, monkeypatch):
    # Lightning starts the program's command line again, so the program itself is run.
    monkeypatch.setenv("WANDB_MODE", "offline")
    out_dir = tmp_path / "two"
    words = [*WORDS, "processes=2", "logger=wandb", f"out_dir={out_dir}"]
    command = [sys.executable, "-m", "detinv", "attribute", *words]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=300, text=True)
    assert ended.stdout.count("Where objects were lost") == 1
    alone, shared = (json.loads((folder / "errors.json").read_text()) for folder in (written, out_dir))
    for found in (alone, shared):
        for one in found["worst"]:
            del one["seconds"]
    assert shared == alone
    for folder in ("maps", "pictures"):
        names = sorted(path.name for path in (written / folder).iterdir())
        assert names == sorted(path.name for path in (out_dir / folder).iterdir())
        for name in names:
            assert (written / folder / name).read_bytes() == (out_dir / folder / name).read_bytes()
    assert len([*(out_dir / "wandb").glob("offline-run-*")]) == 1
    logged = (out_dir / "wandb").glob("offline-run-*/files/media/images/errors/*.png")
    assert len([*logged]) == len(alone["worst"])
